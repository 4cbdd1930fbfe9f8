"""What one training of an offline method is."""

import dataclasses
from collections.abc import Mapping
from typing import Any

CONTEXT_STEPS = 20
"""Steps that a sequence model sees. Source: Chen et al. (2021), "Decision transformer", Table 9."""


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
      other_acting: further labels, with the fields of `LearningConfig` about acting that differ: what was
        trained once is judged in each of these ways. Of our methods only.
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
    other_acting: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
