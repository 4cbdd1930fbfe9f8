"""The learner of RACTD: a `PipelineTrainer` and a `ChunkSampler`."""

import dataclasses
from typing import Any

from distill_rl.datasets.store import load_dataset
from learners.dataset_learner import DatasetLearner
from learners.network_learner import share_weights
from learners.offline.config import DatasetConfig
from learners.offline.learner import OfflineReport
from learners.offline.transitions import observation_statistics
from learners.trajectory.chunks import ChunkSampler
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline import PipelineTrainer
from learners.trajectory.pipeline_config import StagesConfig


@dataclasses.dataclass(frozen=True)
class ChunkReport(OfflineReport):
    """What one call of `ChunkLearner.update` did.

    Attributes:
      stage: in progress after it; None once all are over.
    """

    stage: str | None


class ChunkLearner(DatasetLearner):
    """Opens the dataset and runs the stages on it.

    With several learners each draws from every L-th step, and reads the dataset on its own machine.

    Attributes:
      trainer: the stages.
    """

    trainer: PipelineTrainer

    def build(self) -> None:
        """Builds the module and the stages, and opens the dataset."""
        self._dataset = load_dataset(self.config.part(DatasetConfig).name)
        super().build()
        config = self.config.part(TrajectoryConfig)
        self._sampler = ChunkSampler(
            self._dataset,
            config.num_steps,
            config.discount,
            config.termination_penalty,
            self._rank,
            self._num_ranks,
        )

    def update(self, num_updates: int) -> ChunkReport:  # type: ignore[override]
        """Makes updates, fewer if the last stage ends before.

        Every learner of a group must be asked for the same number of them.
        """
        self._check_is_built()
        batch_size, num_made = self.trainer.config.batch_size, 0
        while num_made < num_updates and self.trainer.stage is not None:
            batch = self._sampler.sample(batch_size, self._generator)
            self._log(self.trainer.update(batch), window=num_updates)
            num_made += 1
        self._weights_seq_no = self.trainer.num_updates
        self._log_steps(num_made * batch_size)
        return ChunkReport(
            num_updates=self.trainer.num_updates,
            num_skipped_updates=self.trainer.num_skipped_updates,
            num_rollbacks=self.trainer.num_rollbacks,
            metrics=self.metrics.reduce(),
            stage=self.trainer.stage,
        )

    def _make_trainer(self, networks: Any, seed: int, average_fn: Any) -> PipelineTrainer:
        self.config.adopt_parts(networks)
        config = self.config.part(TrajectoryConfig)
        share = dataclasses.replace(config, batch_size=-(-config.batch_size // self._num_ranks))
        return PipelineTrainer(
            networks,
            share,
            self.config.part(StagesConfig),
            (*observation_statistics(self._dataset), len(self._dataset)),
            seed,
            self._device,
            average_fn,
            share_weights if self.distributed else None,
        )

    def _start_alike(self) -> None:
        pass  # every stage does when it begins
