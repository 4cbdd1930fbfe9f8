"""The learner of fixed data: an `OfflineTrainer` and a `TransitionSampler`."""

import dataclasses
from typing import Any

import torch

from distill_rl.datasets.store import load_dataset
from distill_rl.policies.offline_networks import OfflineNetworks
from learners.dataset_learner import DatasetLearner
from learners.offline.config import DatasetConfig, LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionSampler, observation_statistics


@dataclasses.dataclass(frozen=True)
class OfflineReport:
    """What one call of `OfflineLearner.update` did.

    Attributes:
      num_updates: updates since the beginning.
      num_skipped_updates: updates skipped so far because a loss or gradient was not finite.
      num_rollbacks: returns to the last good weights so far.
      metrics: RLlib metrics of the call.
    """

    num_updates: int
    num_skipped_updates: int
    num_rollbacks: int
    metrics: Any


class OfflineLearner(DatasetLearner):
    """Opens the dataset and makes updates from it.

    With several learners each draws from every L-th transition, and reads the dataset on its own machine.

    Attributes:
      trainer: the gradient step.
    """

    trainer: OfflineTrainer

    def build(self) -> None:
        """Builds the module and the trainer, and opens the dataset."""
        super().build()
        config = self.config.part(DatasetConfig)
        dataset = load_dataset(config.name)
        self._sampler = TransitionSampler(dataset, config.reward_transform, self._rank, self._num_ranks)
        self.trainer.set_statistics(*observation_statistics(dataset), len(dataset))

    def update(self, num_updates: int) -> OfflineReport:  # type: ignore[override]
        """Makes updates. Every learner of a group must be asked for the same number of them."""
        self._check_is_built()
        batch_size = self.trainer.config.batch_size
        for _ in range(num_updates):
            batch = self._sampler.sample(batch_size, self._generator)
            self._log(self.trainer.update(batch), window=num_updates)
        self._weights_seq_no = self.trainer.num_updates
        self._log_steps(num_updates * batch_size)
        return OfflineReport(
            num_updates=self.trainer.num_updates,
            num_skipped_updates=self.trainer.num_skipped_updates,
            num_rollbacks=self.trainer.num_rollbacks,
            metrics=self.metrics.reduce(),
        )

    def _make_trainer(self, networks: OfflineNetworks, seed: int, average_fn: Any) -> OfflineTrainer:
        config = self.config.part(LearningConfig)
        return make_trainer(networks, config, self._num_ranks, seed, self._device, average_fn)


def make_trainer(
    networks: OfflineNetworks,
    config: LearningConfig,
    num_ranks: int,
    seed: int,
    device: torch.device,
    average_fn: Any,
) -> OfflineTrainer:
    """Builds the trainer of one of several learners, which takes its part of each batch.

    Args:
      networks: of the sizes wanted.
      config: of all learners together.
      num_ranks: number of learners.
      seed: of this learner.
      device: of this learner.
      average_fn: see `OfflineTrainer`.
    """
    batch_size = -(-config.batch_size // num_ranks)
    share = dataclasses.replace(
        config,
        batch_size=batch_size,
        num_reference_states=min(batch_size, -(-config.num_reference_states // num_ranks)),
    )
    policy = networks.policy
    return OfflineTrainer(policy.observation_size, policy.action_size, share, seed, device, average_fn)
