"""What learns from a dataset, seen alike; methods of other libraries are in modules of their own."""

import time
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from actors.evaluation import EvaluationResult, evaluate_policy
from distill_rl.algorithms.offline_config import acting_settings
from distill_rl.algorithms.options import build_part
from distill_rl.cli.experiments.offline_spec import OfflineSpec
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.policies.loading import LoadedPolicy
from learners.offline.config import LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionSampler, observation_statistics

_NUM_TIMED_ACTIONS = 200


class OfflineContender(Protocol):
    """Learns from the dataset it was built with."""

    def learn(self, num_updates: int) -> float | None:
        """Makes updates; returns the mean loss of cloning the data, if there is one."""
        ...

    def evaluate(self, envs: list[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        """Runs whole episodes of what was learned so far."""
        ...

    def time_action(self) -> float:
        """Returns cpu-milliseconds of one action for one state."""
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


def time_actions(act_fn: Any) -> float:
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

    def evaluate(self, envs: list[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        return evaluate_policy(self._policy().act, envs, num_episodes, seed)

    def time_action(self) -> float:
        policy = self._policy()
        return time_actions(lambda: policy.act(self._observation))

    def close(self) -> None:
        pass

    def _policy(self) -> LoadedPolicy:
        averaged = self._trainer.ema
        metadata = {"acting": acting_settings(self._config)}
        return LoadedPolicy(averaged.policy, metadata, critic=averaged.critic)
