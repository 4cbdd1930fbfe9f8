"""What one training of an offline method is."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class OfflineSpec:
    """What to train.

    Attributes:
      part: of the experiment.
      label: of the method, for tables.
      task: of the experiment.
      env: Gymnasium id to evaluate in.
      dataset: to learn from.
      seed: of everything random.
      max_updates: updates in all.
      evaluation_updates: updates between two evaluations.
      num_episodes: of each evaluation.
      learning: fields of `LearningConfig`; for other libraries, what their module says.
      library: `distill_rl`, `rllib` or `d3rlpy`.
      method: of the other libraries.
    """

    part: str
    label: str
    task: str
    env: str
    dataset: str
    seed: int
    max_updates: int
    evaluation_updates: int
    num_episodes: int
    learning: Mapping[str, Any]
    library: str = "distill_rl"
    method: str | None = None
