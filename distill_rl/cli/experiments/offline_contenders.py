"""What learns from a dataset, seen alike; methods of other libraries are in modules of their own."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from distill_rl.algorithms.offline_config import acting_settings
from distill_rl.algorithms.options import build_part
from distill_rl.cli.experiments.offline_policies import OfflinePolicy, StatelessPolicy
from distill_rl.cli.experiments.offline_spec import OfflineSpec
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.policies.loaded import LoadedPolicy
from learners.offline.config import LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionSampler, observation_statistics


class OfflineContender(Protocol):
    """Learns from the dataset it was built with."""

    def learn(self, num_updates: int) -> float | None:
        """Makes updates; returns the mean loss of cloning the data, if there is one."""
        ...

    def policy(self, acting: Mapping[str, Any]) -> OfflinePolicy:
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
