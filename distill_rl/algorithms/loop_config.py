"""Settings of the loop between actors and learners."""

import dataclasses

from distill_rl.checks import check_at_least_one, check_positive


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How often the learner updates, how old data may be, and how much may wait.

    Attributes:
      updates_per_step: gradient updates for each environment step, over all learners together.
      learning_starts: environment steps before the first update.
      updates_per_call: most updates of one call of the learner, after which its weights are ready; also how
        long the driver of a local learner stays away from its actors.
      publish_interval_updates: fewest updates between two broadcasts of the weights. With many actors calls
        are short, and weights need not follow each of them.
      max_pending_updates: updates that may be owed before the actors are asked to wait.
      max_policy_lag: a reference set is dropped, and counted, when the learner has made more than this many
        updates since the weights it was searched with; None keeps every set.
      max_queued_fragments: fragments that may wait for a learner. Actors are asked for no more than fit;
        should the queue overflow all the same, the oldest is dropped, and counted. None for twice the
        requests in flight.
      max_requests_in_flight: requests an actor may hold, the one it works on included; 2 keeps it from
        idling.
      request_timeout_sec: an actor or learner that answers nothing for this long counts as dead.
      max_consecutive_failures: failures of actors without any fragment in between before the run stops.
      num_return_episodes: episodes that the reported returns are averaged over.
      num_search_evaluation_episodes: episodes in which each evaluation also measures the search policy; 0 for
        none.
      checkpoint_replay: whether checkpoints hold the learners' reference sets.
    """

    updates_per_step: float = 0.5
    learning_starts: int = 256
    updates_per_call: int = 32
    publish_interval_updates: int = 1
    max_pending_updates: int = 256
    max_policy_lag: int | None = 2_000
    max_queued_fragments: int | None = None
    max_requests_in_flight: int = 2
    request_timeout_sec: float = 300.0
    max_consecutive_failures: int = 5
    num_return_episodes: int = 20
    num_search_evaluation_episodes: int = 0
    checkpoint_replay: bool = True

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
          ValueError: naming the field, what was expected and what came.
        """
        for name in ("updates_per_step", "request_timeout_sec"):
            check_positive(name, getattr(self, name))
        for name in (
            "updates_per_call",
            "publish_interval_updates",
            "max_requests_in_flight",
            "max_consecutive_failures",
            "num_return_episodes",
        ):
            check_at_least_one(name, getattr(self, name))
        for name in ("learning_starts", "max_pending_updates", "num_search_evaluation_episodes"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}")
        for name in ("max_policy_lag", "max_queued_fragments"):
            if getattr(self, name) is not None:
                check_at_least_one(name, getattr(self, name))
