"""What learns from a dataset, seen alike; methods of other libraries are in modules of their own."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from actors.evaluation import EvaluationResult, evaluate_policy
from distill_rl.algorithms.offline_config import acting_settings
from distill_rl.algorithms.options import build_part
from distill_rl.cli.experiments.offline_spec import OfflineSpec
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.policies.loaded import LoadedPolicy
from learners.offline.config import LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionSampler, observation_statistics

_NUM_TIMED_ACTIONS = 200


class OfflinePolicy(Protocol):
    """Acts."""

    def evaluate(self, envs: list[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        """Runs whole episodes."""
        ...

    def time_action(self) -> float:
        """Returns cpu-milliseconds of one action for one state."""
        ...


class OfflineContender(Protocol):
    """Learns from the dataset it was built with."""

    def learn(self, num_updates: int) -> float | None:
        """Makes updates; returns the mean loss of cloning the data, if there is one."""
        ...

    def policy(self, acting: Mapping[str, Any]) -> "OfflinePolicy":
        """Returns what was learned so far, acting with other settings than those it was specified with."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


def make_contender(spec: OfflineSpec, dataset: OfflineDataset) -> OfflineContender:
    """Builds what a specification names.

    Raises:
      ValueError: if its library is unknown.
      ImportError: if its library is not installed.
    """
    if spec.library == "distill_rl":
        return _OwnMethod(spec, dataset)
    # Here, since they start Ray, or may not be installed.
    if spec.library == "rllib":
        from distill_rl.cli.experiments.rllib_offline import RLlibOffline

        return RLlibOffline(spec, dataset)
    if spec.library == "d3rlpy":
        from distill_rl.cli.experiments.d3rlpy_offline import DecisionTransformerOffline

        return DecisionTransformerOffline(spec, dataset)
    raise ValueError(f"`library` must be distill_rl, rllib or d3rlpy, got {spec.library!r}")


class StatelessPolicy:
    """Acts on observations alone.

    Args:
      act_fn: observations `[M, O]` to actions `[M, A]`.
      observation: one, to time an action with. Shape `[1, O]`.
    """

    def __init__(self, act_fn: Callable[[np.ndarray], np.ndarray], observation: np.ndarray):
        self._act_fn, self._observation = act_fn, observation

    def evaluate(self, envs: list[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        """Runs whole episodes."""
        return evaluate_policy(self._act_fn, envs, num_episodes, seed)

    def time_action(self) -> float:
        """Returns cpu-milliseconds of one action for one state."""
        return time_actions(lambda: self._act_fn(self._observation))


def time_actions(act_fn: Callable[[], Any]) -> float:
    """Returns the mean cpu-milliseconds of a call, after one that does not count."""
    act_fn()
    start = time.process_time()
    for _ in range(_NUM_TIMED_ACTIONS):
        act_fn()
    return 1e3 * (time.process_time() - start) / _NUM_TIMED_ACTIONS


class _OwnMethod:
    """One of `OFFLINE_METHODS`."""

    def __init__(self, spec: OfflineSpec, dataset: OfflineDataset):
        self._config = build_part(LearningConfig, spec.learning)
        self._sampler = TransitionSampler(dataset)
        self._observation = dataset.observations[:1]
        seeds = np.random.SeedSequence(spec.seed).generate_state(2)
        self._generator = np.random.default_rng(int(seeds[0]))
        sizes = dataset.observations.shape[1], dataset.actions.shape[1]
        self._trainer = OfflineTrainer(*sizes, self._config, int(seeds[1]))
        self._trainer.set_statistics(*observation_statistics(dataset), len(dataset))

    def learn(self, num_updates: int) -> float:
        losses = []
        for _ in range(num_updates):
            batch = self._sampler.sample(self._config.batch_size, self._generator)
            losses.append(self._trainer.update(batch)["behaviour_loss"])
        return float(np.mean(losses))

    def policy(self, acting: Mapping[str, Any]) -> StatelessPolicy:
        averaged = self._trainer.ema
        config = dataclasses.replace(self._config, **acting)
        metadata = {"acting": acting_settings(config)}
        policy = LoadedPolicy(averaged.policy, metadata, critic=averaged.critic)
        return StatelessPolicy(policy.act, self._observation)

    def close(self) -> None:
        pass
