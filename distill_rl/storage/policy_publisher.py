"""The sending end of policies through Redis: the newest few are kept, and a notice tells of each.

A publication has an id of its own, apart from the version of the policy: after a restore from an older
checkpoint versions go back, and subscribers follow. Every try has another one: of a try without an answer
nobody knows whether subscribers have seen it.
"""

import dataclasses
import time
import uuid
from collections.abc import Callable
from typing import Any

import redis

from distill_rl.storage.edge_config import EdgeKeys, PublicationConfig
from distill_rl.storage.redis_client import Outages


@dataclasses.dataclass(frozen=True)
class _Offer:
    policy_version: int
    encode_fn: Callable[[], bytes]


class PolicyPublisher:
    """Publishes the newest policy it was offered, not too often; while Redis is away it stays offered.

    Attributes:
      num_published: publications so far.
      num_outages: times that Redis did not take one.
      policy_version: of the last publication; None before the first one.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        config: PublicationConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Prepares publications.

        Args:
          client: of the server, from `connect`; owned by the publisher from now on.
          name: of the run.
          config: intervals and sizes.
          clock: seconds.
        """
        self.num_published = 0
        self.num_outages = 0
        self.policy_version: int | None = None
        self._client, self._keys = client, EdgeKeys.of(name)
        self._config = config or PublicationConfig()
        self._clock = clock
        self._offer: _Offer | None = None
        self._id = uuid.uuid4().hex[:12]
        self._num_tries = 0
        self._next_sec = clock()
        self._outages = Outages("Redis takes no policies, training goes on")

    def offer(self, policy_version: int, encode_fn: Callable[[], bytes]) -> None:
        """Takes the newest policy, in place of one that was not published yet.

        Args:
          policy_version: updates behind it.
          encode_fn: returns its message, see `encode_policy`; called when it is published.

        Raises:
          ValueError: if the message has more than `max_policy_bytes`.
          RedisRefusedError: if Redis turned the client away.
        """
        self._offer = _Offer(policy_version, encode_fn)
        self.poll()

    def poll(self) -> None:
        """Publishes what was offered, if it is time to.

        Raises:
          ValueError: if the message has more than `max_policy_bytes`.
          RedisRefusedError: if Redis turned the client away.
        """
        if self._offer is not None and self._clock() >= self._next_sec:
            self._publish(self._offer)

    def close(self) -> None:
        """Publishes what was offered, if Redis takes it at once, and disconnects.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """
        try:
            if self._offer is not None:
                self._publish(self._offer)
        finally:
            self._client.close()

    def _publish(self, offer: _Offer) -> None:
        message = offer.encode_fn()
        if len(message) > self._config.max_policy_bytes:
            raise ValueError(
                f"a policy must have at most max_policy_bytes = {self._config.max_policy_bytes} bytes, "
                f"got {len(message)}"
            )
        num_kept = self._config.num_kept_policies
        publication = f"{self._id}-{self._num_tries}"
        self._num_tries += 1
        try:
            removed: Any = self._client.lrange(self._keys.kept_policies, num_kept - 1, -1)
            pipeline = self._client.pipeline(transaction=True)
            pipeline.set(f"{self._keys.policies}{publication}", message)
            pipeline.set(self._keys.newest_policy, publication)
            pipeline.lpush(self._keys.kept_policies, publication)
            pipeline.ltrim(self._keys.kept_policies, 0, num_kept - 1)
            for old in removed:
                pipeline.unlink(f"{self._keys.policies}{old.decode()}")
            pipeline.publish(self._keys.notices, publication)
            pipeline.execute()
        except redis.RedisError as error:
            self._next_sec = self._clock() + self._outages.note(error)
            self.num_outages += 1
            return
        self._outages.end()
        self._offer = None
        self.num_published += 1
        self.policy_version = offer.policy_version
        self._next_sec = self._clock() + self._config.publish_interval_sec
