"""What `scaling_simulation.py` is given, and what comes out of it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class ServiceTimes:
    """What each part takes, in cpu-seconds where nothing else is said.

    Attributes:
      search_sec: of one fragment; drawn with replacement. Shape `[num_measured]`.
      num_sets: reference sets, and environment steps, of a fragment.
      fragment_bytes: of its arrays.
      driver_sec: of the driver for each fragment: request, answer, gate, metrics.
      wait_sec_per_request: of the driver for each request in flight, whenever it looks what is ready.
      add_sec: of a learner for each fragment: fetch, check, copy into the replay.
      update_sec: of a learner for one update.
      publish_sec: of the driver for a broadcast.
      pull_sec: of the weight store for an actor's pull, with the copy to its host.
      decode_sec: of the driver for a fragment from the stream: parse, digest, check.
      redis_sec: of Redis for a fragment, in and out.
    """

    search_sec: np.ndarray  # [num_measured]
    num_sets: int
    fragment_bytes: int
    driver_sec: float
    wait_sec_per_request: float
    add_sec: float
    update_sec: float
    publish_sec: float
    pull_sec: float
    decode_sec: float
    redis_sec: float


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is simulated.

    Attributes:
      num_actors: actors.
      updates_per_step: see `LoopConfig`.
      num_learners: over which an update is divided; each still reads every fragment, as in the loop.
      is_local: whether the learner works in the driver's process.
      num_cores: that all share, may be a fraction; None for a core for each part.
      stream_messages: messages that may wait in Redis; 0 for fragments through Ray.
      batch_bytes: of a message.
      max_delay_sec: after which a message leaves, however small.
    """

    num_actors: int
    updates_per_step: float = 0.5
    num_learners: int = 1
    is_local: bool = False
    num_cores: float | None = None
    stream_messages: int = 0
    batch_bytes: int = 256 * 1024
    max_delay_sec: float = 1.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came out, after the start-up.

    Attributes:
      sets_per_sec: reference sets that the learner got.
      stale_share: share of the sets that were dropped for their age (`max_policy_lag`).
      updates_per_sec: updates that it made.
      lag_updates: mean updates between the weights of a set and the newest ones published when it arrived.
      actor_share: share of the time that actors searched.
      driver_share: share of the time that the driver was busy.
      learner_share: share of the time that the learner was busy.
    """

    sets_per_sec: float
    stale_share: float
    updates_per_sec: float
    lag_updates: float
    actor_share: float
    driver_share: float
    learner_share: float
