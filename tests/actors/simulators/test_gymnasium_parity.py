"""Gymnasium environments, simulated natively, by data copies or by deep copies, against their own steps."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from planner import plan_steps

from actors.simulators import MujocoSimulator, Rollout, Simulator, make_simulator
from actors.simulators.gymnasium_tasks import find_gymnasium_task
from distill_rl.envs import make_env

NATIVE = [
    "HalfCheetah-v5",
    "Hopper-v5",
    "InvertedPendulum-v5",
    "Pusher-v5",
    "Swimmer-v5",
    "Walker2d-v5",
]
COPIED = ["Ant-v5", "Humanoid-v5", "Reacher-v5"]
DEEPCOPIED = ["Pendulum-v1", "MountainCarContinuous-v0"]
ALL = NATIVE + COPIED + DEEPCOPIED


def make_live(
    env_id: str, action_repeat: int = 1, seed: int = 0, num_steps: int = 0, **config: Any
) -> gym.Env:
    """Returns a live environment a few small actions into an episode."""
    env = make_env(env_id, action_repeat=action_repeat, env_config=config)
    env.reset(seed=seed)
    for action in 0.1 * random_actions(env, (num_steps,), seed + 100):
        env.step(action)
    return env


def random_actions(env: gym.Env, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns uniform actions `[*shape, A]`, float32."""
    size = env.action_space.shape[0]
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, size)).astype(np.float32)


def live_state(env: gym.Env) -> np.ndarray:
    """Returns what describes the live state: positions and velocities, or the environment's own `state`."""
    base = env.unwrapped
    return base.state_vector() if hasattr(base, "state_vector") else np.array(base.state, float)


def simulated_state(simulator: Simulator, rollout: Rollout) -> np.ndarray:
    """Returns the same of the first row of a rollout."""
    row = rollout.state[0]
    if isinstance(simulator, MujocoSimulator):
        model = simulator.task.model
        return row[1 : 1 + model.nq + model.nv]
    if hasattr(row.saved, "data"):
        return np.concatenate([row.saved.data.qpos, row.saved.data.qvel])
    return np.array(row.saved.unwrapped.state, float)


def assert_rollout_matches(env: gym.Env, plan: np.ndarray) -> np.ndarray:
    """Checks a rollout from a snapshot against the live environment until it ends; returns live rewards.

    Native rollouts go on inside the repeat that terminated, so their last observation is another then.
    """
    simulator = make_simulator(env)
    state = simulator.snapshot(env)[None]
    lengths, rewards, observation = 0, [], None
    live = []
    for action in plan:
        observation, reward, terminated, _, _ = env.step(action)
        rewards.append(reward)
        live.append(not terminated)
        lengths += 1
        if terminated:
            break
    shortened = simulator.rollout(state, plan[None, :lengths])
    np.testing.assert_array_equal(shortened.reward[0], rewards)
    np.testing.assert_array_equal(shortened.discount[0], live)
    if live[-1] or not isinstance(simulator, MujocoSimulator):
        np.testing.assert_array_equal(shortened.observation[0], observation)
    assert shortened.observation.dtype == np.float32
    if live[-1]:
        np.testing.assert_array_equal(simulated_state(simulator, shortened), live_state(env))
    full = simulator.rollout(state, plan[None])
    np.testing.assert_array_equal(full.reward[0, :lengths], rewards)
    if not live[-1]:
        np.testing.assert_array_equal(full.reward[0, lengths:], 0.0)
        np.testing.assert_array_equal(full.discount[0, lengths - 1 :], 0.0)
    return np.array(rewards)


@pytest.mark.parametrize("num_steps", [0, 3])
@pytest.mark.parametrize("env_id", ALL)
def test_rollout_equals_environment(env_id: str, num_steps: int) -> None:
    """States, observations, rewards, terminations are the environment's, from a reset and in an episode."""
    env = make_live(env_id, num_steps=num_steps)
    assert_rollout_matches(env, random_actions(env, (15,)))


@pytest.mark.parametrize("env_id", ALL)
def test_rollout_equals_repeated_environment(env_id: str) -> None:
    """With an action repeat, rewards are the sums over the repeated steps."""
    env = make_live(env_id, action_repeat=2, seed=1, num_steps=1)
    assert_rollout_matches(env, random_actions(env, (8,), seed=1))


@pytest.mark.parametrize(
    ("env_id", "num_steps", "settings", "threshold"),
    [
        ("HalfCheetah-v5", 40, {"horizon": 16}, 1.0),
        ("Hopper-v5", 60, {"horizon": 12}, 1.2),
        ("Walker2d-v5", 40, {"horizon": 12}, 1.2),
        ("Swimmer-v5", 20, {"horizon": 20, "hold": 10}, 0.3),
        ("InvertedPendulum-v5", 60, {}, 0.99),
        ("Pusher-v5", 30, {}, -0.6),
        ("Reacher-v5", 24, {"num_samples": 16, "horizon": 16, "noise": 0.2}, -0.24),
        ("Ant-v5", 8, {"num_samples": 8, "horizon": 6, "hold": 6}, 0.3),
    ],
)
def test_rollout_equals_planned_episode(
    env_id: str, num_steps: int, settings: dict[str, Any], threshold: float
) -> None:
    """A planner that reaches reward: its actions, replayed from the first state, give its rewards exactly."""
    env = make_live(env_id, seed=1)
    simulator = make_simulator(env)
    start = simulator.snapshot(env)[None]
    actions, rewards = plan_steps(env, simulator, num_steps, **settings)
    replay = simulator.rollout(start, actions[None])
    np.testing.assert_array_equal(replay.reward[0], rewards)
    np.testing.assert_array_equal(replay.discount[0], 1.0)
    np.testing.assert_array_equal(simulated_state(simulator, replay), live_state(env))
    assert rewards[num_steps // 2 :].mean() > threshold


@pytest.mark.parametrize("action_repeat", [1, 2, 3, 4])
@pytest.mark.parametrize("env_id", ["Hopper-v5", "Walker2d-v5", "InvertedPendulum-v5", "Humanoid-v5"])
def test_termination_inside_a_repeat(env_id: str, action_repeat: int) -> None:
    """A step that terminates half-way earns what the environment earned until then, and nothing after it."""
    env = make_live(env_id, action_repeat, seed=3)
    plan = np.sign(random_actions(env, (100 // action_repeat,), seed=3))
    rewards = assert_rollout_matches(env, plan)
    assert len(rewards) < len(plan)  # it did terminate


@pytest.mark.parametrize(
    ("env_id", "config"),
    [
        ("HalfCheetah-v5", {"forward_reward_weight": 2.5, "ctrl_cost_weight": 0.3, "frame_skip": 3}),
        ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False}),
        ("Swimmer-v5", {"forward_reward_weight": -1.0, "exclude_current_positions_from_observation": False}),
        ("Hopper-v5", {"healthy_reward": 3.0, "healthy_z_range": (1.2, 1.26), "ctrl_cost_weight": 0.5}),
        ("Hopper-v5", {"healthy_angle_range": (-0.01, 0.01)}),
        ("Hopper-v5", {"healthy_state_range": (-0.5, 0.5)}),
        ("Hopper-v5", {"healthy_z_range": (1.24, 1.26), "terminate_when_unhealthy": False}),
        ("Walker2d-v5", {"healthy_z_range": (1.2, 1.26), "healthy_reward": 0.25}),
        ("Pusher-v5", {"reward_near_weight": 2.0, "reward_dist_weight": 0.5, "reward_control_weight": 0.0}),
        ("Ant-v5", {"contact_cost_weight": 0.1, "include_cfrc_ext_in_observation": False}),
    ],
)
def test_settings_of_the_environment_are_respected(env_id: str, config: dict[str, Any]) -> None:
    """Weights, ranges and observation settings are those that the environment was built with."""
    env = make_live(env_id, seed=2, num_steps=2, **config)
    plan = random_actions(env, (20,), seed=2)
    rewards = assert_rollout_matches(env, plan)
    default = make_live(env_id, seed=2, num_steps=2)
    others = [default.step(action)[1] for action in plan]
    is_observed_otherwise = default.observation_space != env.observation_space
    assert is_observed_otherwise or not np.array_equal(rewards, others[: len(rewards)])


@pytest.mark.parametrize("env_id", ["Pusher-v5", "Reacher-v5"])
def test_goals_of_different_episodes_share_a_batch(env_id: str) -> None:
    """Goals and objects, which each episode places anew, travel with the state."""
    envs = [make_live(env_id, seed=seed, num_steps=1) for seed in (1, 2)]
    simulator = make_simulator(envs[0])
    state = np.stack([simulator.snapshot(env) for env in envs])
    plans = random_actions(envs[0], (2, 6))
    rollout = simulator.rollout(state, plans)
    for row, env in enumerate(envs):
        np.testing.assert_array_equal(rollout.reward[row], [env.step(action)[1] for action in plans[row]])
        np.testing.assert_array_equal(rollout.observation[row], env.get_wrapper_attr("last_observation"))


def test_first_observation_of_a_closed_loop_is_the_live_one() -> None:
    """Pusher's body positions, which it reads a substep late, are in the first observation as live."""
    env = make_live("Pusher-v5", num_steps=5)
    simulator = make_simulator(env)
    seen = []

    def action_fn(step: int, observation: np.ndarray) -> np.ndarray:
        seen.append(observation[0])
        return np.zeros((1, 7), np.float32)

    simulator.rollout(simulator.snapshot(env)[None], action_fn, 2)
    np.testing.assert_array_equal(seen[0], env.get_wrapper_attr("last_observation"))


def test_subclasses_have_no_vectorised_task() -> None:
    """A subclass may change anything, so it is not taken for the environment it derives from."""

    class Backward(gym.envs.mujoco.half_cheetah_v5.HalfCheetahEnv):
        pass

    assert find_gymnasium_task(make_env(Backward)) is None
    assert find_gymnasium_task(make_env("HalfCheetah-v5")) is not None
