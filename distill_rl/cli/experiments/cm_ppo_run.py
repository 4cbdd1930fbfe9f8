"""One training by PPO, with a Gaussian or a consistency policy."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES_LIFETIME,
)

from actors.evaluation import evaluate_policy
from distill_rl.algorithms.cm_ppo_config import CMPPOConfig
from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.baselines import ppo_config
from distill_rl.cli.experiments.contenders import mode_policy
from distill_rl.cli.experiments.curves import EVALUATION_SEED, CurveSpec
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.machine import describe_machine
from distill_rl.envs import make_env
from learners.ppo.learner import DiagnosedPPOLearner

STATISTICS = (
    "ratio_q05",
    "ratio_q50",
    "ratio_q95",
    "ratio_mean",
    "kl",
    "clip_fraction",
    "effective_sample_size",
    "policy_gradient_norm",
    "consistency_loss",
)
"""Metrics of a PPO learner that rows have: means over the iterations since the last row."""

_OBJECT_STORE_BYTES = 128 * 2**20


@dataclasses.dataclass(frozen=True)
class PPOSpec:
    """One run of one variant.

    Attributes:
      variant: its name.
      task: name of the task.
      env: environment id.
      action_repeat: how often every action is taken.
      seed: of the training.
      num_env_steps: environment steps; the last iteration may go a little beyond.
      evaluation_steps: environment steps between evaluations.
      num_episodes: episodes of each evaluation, without noise.
      num_envs: environments that are stepped together.
      training: settings of RLlib's PPO, which all variants have in common.
      consistency: settings of the section of that name; None for RLlib's own Gaussian policy.
    """

    variant: str
    task: str
    env: str
    action_repeat: int
    seed: int
    num_env_steps: int
    evaluation_steps: int
    num_episodes: int
    num_envs: int
    training: Mapping[str, Any]
    consistency: Mapping[str, Any] | None


def make_config(spec: PPOSpec) -> AlgorithmConfig:
    """Configures a run, everything in one process.

    A Gaussian policy is that of `baselines.ppo_config` (CleanRL's settings, tanh layers, a free standard
    deviation, rewards divided by the deviation of returns), with two layers of 64 as a consistency policy
    has; collection, step size, batches and epochs are those of the specification for both.
    """
    if spec.consistency is None:
        curve = CurveSpec("ppo", spec.env, spec.action_repeat, spec.seed, 1.0, 1.0, {}, num_cores=1)
        config = ppo_config(curve).training(learner_class=DiagnosedPPOLearner)
    else:
        config = (
            CMPPOConfig()
            .environment(spec.env, env_config={"action_repeat": spec.action_repeat})
            .consistency(**spec.consistency)
            .debugging(seed=spec.seed)
        )
    return config.env_runners(num_env_runners=0, num_envs_per_env_runner=spec.num_envs).training(
        **spec.training
    )


def act_fn_of(algorithm: Algorithm) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the policy of an algorithm without noise: the mean of a Gaussian one, or zero noise."""
    if not isinstance(algorithm.config, CMPPOConfig):
        return mode_policy(algorithm)
    policy = algorithm.get_module(DEFAULT_MODULE_ID).networks.policy
    num_steps = algorithm.config.consistency_settings.num_sampling_steps
    return lambda observation: policy.act(torch.from_numpy(observation), num_steps).numpy()


def train_ppo(spec: PPOSpec) -> list[Row]:
    """Trains, and evaluates at the start, at every interval and at the end.

    Returns:
      One row for each evaluation: `env_steps`, `episodes` finished in training, `episode_return`, the
      `STATISTICS` that are known, and fields of the specification.
    """
    algorithm = make_config(spec).build_algo()
    torch.set_num_threads(1)
    envs = [make_env(spec.env, action_repeat=spec.action_repeat) for _ in range(spec.num_episodes)]
    own = {name: getattr(spec, name) for name in ("variant", "task", "env", "action_repeat", "seed")}
    rows: list[Row] = []
    env_steps, episodes = 0, 0
    since: list[Mapping[str, Any]] = []

    def evaluate() -> None:
        result = evaluate_policy(act_fn_of(algorithm), envs, spec.num_episodes, EVALUATION_SEED)
        statistics = {name: _mean([metrics.get(name) for metrics in since]) for name in STATISTICS}
        counts = {"env_steps": env_steps, "episodes": episodes, "episode_return": result.mean_return}
        rows.append({**own, **counts, **statistics, "machine": describe_machine()})
        since.clear()

    try:
        evaluate()
        while env_steps < spec.num_env_steps:
            result = algorithm.train()
            sampled = result[ENV_RUNNER_RESULTS]
            env_steps = int(sampled[NUM_ENV_STEPS_SAMPLED_LIFETIME])
            episodes = int(sampled.get(NUM_EPISODES_LIFETIME, 0))
            since.append(result[LEARNER_RESULTS][DEFAULT_MODULE_ID])
            if env_steps >= min(spec.num_env_steps, rows[-1]["env_steps"] + spec.evaluation_steps):
                evaluate()
    finally:
        algorithm.stop()
        for env in envs:
            env.close()
    return rows


def start_small_ray() -> None:
    """Starts Ray for one process."""
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=1,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def run_training(spec: Mapping[str, Any], folder: Path) -> None:
    """Runs a specification in this process and writes its rows into a folder."""
    save_result(folder, spec, train_ppo(PPOSpec(**spec)))


def _mean(values: list[Any]) -> float | None:
    """Returns the mean of the finite values, None if there are none: JSON has no NaN."""
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None
