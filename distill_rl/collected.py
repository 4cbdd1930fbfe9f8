"""What a `SearchActor` brings back."""

import dataclasses
from typing import Literal

from distill_rl.types import ReferenceSet


@dataclasses.dataclass(frozen=True)
class EpisodeRecord:
    """One finished episode.

    Attributes:
      episode_return: undiscounted sum of its rewards.
      num_steps: its length in environment steps.
      duration_sec: wall seconds it took, searches included.
      acted_by: who chose its actions; `mixed` if that changed within the episode.
      terminated: whether the environment ended it; False for a time limit.
    """

    episode_return: float
    num_steps: int
    duration_sec: float = dataclasses.field(compare=False)
    acted_by: Literal["search", "student", "mixed"]
    terminated: bool


@dataclasses.dataclass(frozen=True)
class Collected:
    """What one call of `SearchActor.collect` brought.

    Attributes:
      reference_set: labels of all states visited, except those of dropped episodes; time first, then
        environments. Shape `[B, ...]`.
      episodes: episodes that finished.
      num_dropped_episodes: episodes given up because physics failed.
      num_env_steps: environment steps taken, those of dropped episodes included.
      num_simulator_steps: control steps the search simulated.
      metrics: the operator's diagnostics, averaged over the searches; empty if it keeps none.
    """

    reference_set: ReferenceSet
    episodes: list[EpisodeRecord]
    num_dropped_episodes: int
    num_env_steps: int
    num_simulator_steps: int
    metrics: dict[str, float]
