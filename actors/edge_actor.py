"""An actor outside Ray: the newest published policy comes in, reference sets go out."""

from collections.abc import Callable
from typing import NamedTuple

from actors.search_actor import SearchActor
from distill_rl.collected import Collected
from distill_rl.policies.base import SearchPolicy
from distill_rl.storage.policy_subscriber import PolicySubscriber
from distill_rl.storage.reference_producer import ReferenceProducer

_WAIT_SLICE_SEC = 0.5


class VersionedPolicy(NamedTuple):
    """A policy to search with.

    Attributes:
      policy: with its value function.
      policy_version: updates behind it.
    """

    policy: SearchPolicy
    policy_version: int


class EdgeActor:
    """Searches one fragment after another, each with one policy, the newest there is.

    It searches only when there is room for what it finds, so that a learner that falls behind gets labels of
    new policies afterwards, not a backlog of old ones.

    Args:
      actor: searches.
      subscriber: receives policies.
      producer: sends reference sets.
      num_steps: environment steps of a fragment.
    """

    def __init__(
        self,
        actor: SearchActor,
        subscriber: PolicySubscriber[VersionedPolicy],
        producer: ReferenceProducer,
        num_steps: int,
    ):
        self._actor = actor
        self._subscriber = subscriber
        self._producer = producer
        self._num_steps = num_steps

    def run(self, should_stop_fn: Callable[[], bool], note_fn: Callable[[Collected | None], None]) -> None:
        """Searches until told to stop; never ends a wait on its own.

        Args:
          should_stop_fn: asked between fragments, and twice a second while it waits.
          note_fn: called after each of these, with the fragment that was sent, or None.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """
        while not should_stop_fn():
            has_policy = self._subscriber.wait(_WAIT_SLICE_SEC) is not None
            collected = None
            if has_policy and self._producer.wait_for_room(_WAIT_SLICE_SEC):
                collected = self._collect()
                self._producer.put(collected)
            note_fn(collected)

    def _collect(self) -> Collected:
        newest = self._subscriber.newest
        assert newest is not None  # there was one
        policy, policy_version = newest.policy
        return self._actor.collect(policy, self._num_steps, policy_version)
