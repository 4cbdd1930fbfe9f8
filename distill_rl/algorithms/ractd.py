"""Reward-aware consistency trajectory distillation as an RLlib algorithm."""

import math
from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import LEARNER_RESULTS

from distill_rl.algorithms.offline import Offline
from distill_rl.algorithms.ractd_config import RACTDConfig
from learners.chunk_learner import ChunkReport
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline_config import STAGES, StagesConfig


class RACTD(Offline):
    """Learners that run stage after stage on a dataset; see `RACTDConfig`.

    The section `loop` of a result also holds `stage`, the one in progress (None after the last), and the
    result's `done` is true once all are over. A checkpoint holds everything that the stages left so far.
    """

    config_class = RACTDConfig

    def setup(self, config: RACTDConfig) -> None:
        """Opens the dataset, checks environment and checkpoints, and builds the learners.

        Raises:
          ValueError: if there is no such dataset, environment or checkpoint, or one of other sizes.
        """
        super().setup(config)
        schedule = self.config.part(StagesConfig).schedule(self.config.part(TrajectoryConfig))
        self.description += "\nstages: " + ", ".join(f"{name} {count:,} updates" for name, count in schedule)

    def step(self) -> dict[str, Any]:
        """Runs one iteration, and keeps the metrics of earlier stages out of its result."""
        begun = self._stage
        result = super().step()
        learned = result.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {})
        earlier = tuple(f"{stage}_" for stage in STAGES if stage not in (begun, self._stage))
        for name in [name for name in learned if name.startswith(earlier) and math.isnan(learned[name])]:
            del learned[name]
        result["loop"]["stage"] = self._stage
        result["done"] = self._stage is None
        return result

    @property
    def _stage(self) -> str | None:
        assert isinstance(self._report, ChunkReport)
        return self._report.stage
