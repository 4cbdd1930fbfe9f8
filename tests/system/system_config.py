"""A tiny configuration of the whole loop."""

from distill_rl.algorithms import DistillConfig


def make_config(num_env_runners=0, num_learners=0):
    """Returns the pendulum in episodes of 20 steps, small networks and fragments of 32 steps."""
    return (
        DistillConfig()
        .environment("dm_control/pendulum-swingup-v0", env_config={"action_repeat": 50})
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=4, rollout_fragment_length=8)
        .learners(num_learners=num_learners)
        .search(num_candidates=4, num_perturbed=2, ascent_steps=[0.5], horizon_steps=1, hold_steps=1)
        .distillation(batch_size=16, hidden_sizes=(16,), replay_capacity=1_000)
        .loop(learning_starts=64, updates_per_step=0.25, updates_per_call=4, request_timeout_sec=120.0)
        .reporting(min_sample_timesteps_per_iteration=256)
        .evaluation(evaluation_duration=2, evaluation_config={"explore": False, "num_envs_per_env_runner": 2})
        .debugging(seed=0)
    )
