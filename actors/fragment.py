"""What an actor sends for each request."""

import dataclasses
from typing import Any

from distill_rl.collected import EpisodeRecord


@dataclasses.dataclass(frozen=True)
class FragmentHeader:
    """Describes a fragment of search results; the reference sets themselves travel beside it.

    Attributes:
      actor_id: index of the actor.
      sequence: number of the request that it answers, as the driver gave it.
      policy_version: version of the weights that the whole fragment was searched with.
      num_sets: reference sets in it.
      num_env_steps: environment steps taken.
      num_simulator_steps: control steps simulated.
      episodes: records of the episodes that ended.
      num_dropped_episodes: episodes given up, for example because the simulation diverged.
      num_failed_pulls: weight pulls that failed or timed out for this fragment.
      statistics: the operator's diagnostics, averaged over the searches.
      metrics: the runner's RLlib metrics.
      origin: process that searched it, its host and its log.
    """

    actor_id: int
    sequence: int
    policy_version: int
    num_sets: int
    num_env_steps: int
    num_simulator_steps: int
    episodes: tuple[EpisodeRecord, ...]
    num_dropped_episodes: int
    num_failed_pulls: int
    statistics: dict[str, float]
    metrics: Any = None
    origin: str = ""
