"""Reward-aware consistency trajectory distillation as an RLlib algorithm."""

from typing import Any

from distill_rl.algorithms.offline import Offline
from distill_rl.algorithms.ractd_config import RACTDConfig
from learners.chunk_learner import ChunkReport
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline_config import StagesConfig


class RACTD(Offline):
    """Learners that run stage after stage on a dataset; see `RACTDConfig`.

    The section `loop` of a result also holds `stage`, the one in progress (None after the last), and the
    result's `done` is true once all are over. A checkpoint holds everything that the stages left so far.
    """

    @classmethod
    def get_default_config(cls) -> RACTDConfig:
        """Returns the default configuration."""
        return RACTDConfig()

    def setup(self, config: RACTDConfig) -> None:
        """Opens the dataset, checks environment and checkpoints, and builds the learners.

        Raises:
          ValueError: if there is no such dataset, environment or checkpoint, or one of other sizes.
        """
        super().setup(config)
        schedule = self.config.part(StagesConfig).schedule(self.config.part(TrajectoryConfig))
        self.description += "\nstages: " + ", ".join(f"{name} {count:,} updates" for name, count in schedule)

    def step(self) -> dict[str, Any]:
        """Runs one iteration."""
        result = super().step()
        report = self._report
        assert isinstance(report, ChunkReport)
        stage = report.stage
        result["loop"]["stage"] = stage
        result["done"] = stage is None
        return result
