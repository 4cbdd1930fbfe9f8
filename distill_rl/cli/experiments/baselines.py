"""RLlib's own SAC and PPO, with published settings.

Where RLlib has no such setting, or a fixed time leaves it no meaning, the departure is named below.
"""

from typing import Any

import gymnasium as gym
from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from distill_rl.cli.experiments.curves import CurveSpec
from distill_rl.envs import make_env

_DISCOUNT = 0.99
_REWARD_CLIP = 10.0


def sac_config(spec: CurveSpec) -> AlgorithmConfig:
    """Configures SAC, everything in one process.

    Settings: Haarnoja et al. (2018), "Soft actor-critic algorithms and applications", Table 1
    (https://arxiv.org/abs/1812.05905): Adam 3e-4, batches of 256, two layers of 256 ReLU, discount 0.99,
    target rate 0.005, one update for each step, temperature tuned to an entropy of -A. Initial temperature
    0.1 as in Yarats & Kostrikov (2020) for dm_control (https://github.com/denisyarats/pytorch_sac). RLlib's
    critics encode observation and action apart before their joint layers, three in all.

    RLlib's SAC samples and updates in turn: a remote env runner would wait for the learner and the learner
    for it.
    """
    return (
        SACConfig()
        .environment(_register("sac_task", spec))
        .env_runners(num_env_runners=0, num_envs_per_env_runner=1)
        .learners(num_learners=0)
        .training(
            actor_lr=3e-4,
            critic_lr=3e-4,
            alpha_lr=3e-4,
            train_batch_size_per_learner=256,
            gamma=_DISCOUNT,
            tau=0.005,
            initial_alpha=0.1,
            target_entropy="auto",
            num_steps_sampled_before_learning_starts=1_000,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1_000_000},
        )
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[256],
                fcnet_activation="relu",
                fusionnet_hiddens=[],
                fusionnet_activation="relu",
                head_fcnet_hiddens=[256],
                head_fcnet_activation="relu",
            )
        )
        .reporting(min_time_s_per_iteration=1, min_sample_timesteps_per_iteration=0)
        .debugging(seed=spec.seed, log_level="ERROR")
    )


def ppo_config(spec: CurveSpec) -> AlgorithmConfig:
    """Configures PPO, with one env runner for each core.

    Settings: `ppo_continuous_action.py` of CleanRL, which is benchmarked on dm_control (Huang et al. 2022,
    https://docs.cleanrl.dev/rl-algorithms/ppo/): Adam 3e-4, 2048 steps an iteration, 10 epochs of minibatches
    of 64, discount 0.99, GAE 0.95, ratio clip 0.2, no entropy bonus, value weight 0.5, gradient norm 0.5, two
    layers of 64 tanh, a free standard deviation, normalised observations, and rewards normalised and clipped
    to 10. The step size is not annealed, since the number of steps is not known before; value predictions are
    not clipped around the old ones, which RLlib cannot.
    """
    return (
        PPOConfig()
        .environment(_register("ppo_task", spec, _normalise_reward))
        .env_runners(
            num_env_runners=spec.num_cores,
            num_envs_per_env_runner=8,
            rollout_fragment_length="auto",
            env_to_module_connector=lambda env, spaces, device: MeanStdFilter(),
        )
        .learners(num_learners=0)
        .training(
            lr=3e-4,
            train_batch_size_per_learner=2048,
            minibatch_size=64,
            num_epochs=10,
            gamma=_DISCOUNT,
            lambda_=0.95,
            clip_param=0.2,
            vf_clip_param=float("inf"),
            vf_loss_coeff=0.5,
            entropy_coeff=0.0,
            use_kl_loss=False,
            grad_clip=0.5,
            grad_clip_by="global_norm",
        )
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False, free_log_std=True
            )
        )
        .debugging(seed=spec.seed, log_level="ERROR")
    )


def _register(name: str, spec: CurveSpec, wrap_fn: Any = lambda env: env) -> str:
    """Registers the environment of a run with Ray Tune, and returns the name."""
    tune.register_env(name, lambda _: wrap_fn(make_env(spec.env, action_repeat=spec.action_repeat)))
    return name


def _normalise_reward(env: gym.Env) -> gym.Env:
    """Scales rewards by the running deviation of the discounted return; for training only."""
    normalised = gym.wrappers.NormalizeReward(env, gamma=_DISCOUNT)
    return gym.wrappers.TransformReward(
        normalised, lambda reward: min(max(float(reward), -_REWARD_CLIP), _REWARD_CLIP)
    )
