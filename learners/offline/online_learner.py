"""The learner of one's own steps: an `OfflineTrainer` fed from a replay."""

from typing import Any

from distill_rl.policies.offline_networks import OfflineNetworks
from learners.learner import DistillLearner
from learners.offline.config import LearningConfig
from learners.offline.learner import make_trainer
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import last_transitions


class OnlineLearner(DistillLearner):
    """Keeps reference sets with the steps that were taken in their states, and learns from those steps.

    Attributes:
      trainer: the gradient step.
    """

    trainer: OfflineTrainer  # type: ignore[assignment]

    def start_from(self, state: dict[str, Any]) -> None:
        """Goes on from the state of another trainer, see `OfflineTrainer.start_from`."""
        self.trainer.start_from(state)
        self._weights_seq_no = self.trainer.num_updates

    def _take_step(self) -> dict[str, float]:
        """Makes one update from the replay, and returns its metrics."""
        batch = last_transitions(self.replay.sample(self.trainer.config.batch_size, self._generator))
        self.trainer.add_statistics(batch.observation)
        return self.trainer.update(batch)

    def _make_trainer(  # type: ignore[override]
        self, networks: OfflineNetworks, seed: int, average_fn: Any
    ) -> OfflineTrainer:
        config = self.config.part(LearningConfig)
        return make_trainer(networks, config, self._num_ranks, seed, self._device, average_fn)
