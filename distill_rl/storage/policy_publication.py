"""Policies through Redis: the newest few are kept, a notice tells of each, and whoever comes late reads on.

A publication has an id of its own, apart from the version of the policy: after a restore from an older
checkpoint versions go back, and subscribers follow.
"""

import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import redis

from distill_rl.storage.edge_config import EdgeKeys, PublicationConfig
from distill_rl.storage.redis_client import RedisRefusedError, is_outage

Policy = TypeVar("Policy")

_RETRY_SEC = (0.1, 5.0)  # first and longest wait
_CLOSE_SEC = 0.2  # between two looks at whether a subscriber was closed

_logger = logging.getLogger(__name__)


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
        self._next_sec = clock()
        self._retry_sec = _RETRY_SEC[0]

    def offer(self, policy_version: int, encode_fn: Callable[[], bytes]) -> None:
        """Takes the newest policy, in place of one that was not published yet.

        Args:
          policy_version: updates behind it.
          encode_fn: returns its message, see `encode_policy`; called when it is published.
        """
        self._offer = _Offer(policy_version, encode_fn)
        self.poll()

    def poll(self) -> None:
        """Publishes what was offered, if it is time to.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """
        if self._offer is not None and self._clock() >= self._next_sec:
            self._publish(self._offer)

    def close(self) -> None:
        """Publishes what was offered, if Redis takes it at once, and disconnects."""
        if self._offer is not None:
            self._publish(self._offer)
        self._client.close()

    def _publish(self, offer: _Offer) -> None:
        message = offer.encode_fn()
        if len(message) > self._config.max_policy_bytes:
            raise ValueError(
                f"a policy must have at most max_policy_bytes = {self._config.max_policy_bytes} bytes, "
                f"got {len(message)}"
            )
        try:
            num_kept = self._config.num_kept_policies
            removed: Any = self._client.lrange(self._keys.kept_policies, num_kept - 1, -1)
            publication = f"{self._id}-{self.num_published}"
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
            if not is_outage(error):
                raise RedisRefusedError(f"Redis refused a policy: {error}") from error
            if self._retry_sec == _RETRY_SEC[0]:
                _logger.warning("Redis takes no policies, training goes on: %s", error)
            self.num_outages += 1
            self._next_sec = self._clock() + self._retry_sec
            self._retry_sec = min(2.0 * self._retry_sec, _RETRY_SEC[1])
            return
        self._offer = None
        self.num_published += 1
        self.policy_version = offer.policy_version
        self._retry_sec = _RETRY_SEC[0]
        self._next_sec = self._clock() + self._config.publish_interval_sec


@dataclasses.dataclass(frozen=True)
class Received(Generic[Policy]):
    """A policy that arrived, and was found good.

    Attributes:
      publication: its id.
      policy: what `decode_fn` made of it.
    """

    publication: str
    policy: Policy


class PolicySubscriber(Generic[Policy]):
    """Holds the newest published policy, which a thread of its own receives, checks and decodes.

    A policy takes the place of the one before it in one assignment, when it is ready to act; a damaged one
    never does, and is counted. Notices make it fast; since they may get lost, the newest policy is also
    looked up from time to time, and whenever the connection was lost.

    Attributes:
      num_received: policies taken.
      num_refused: policies that were damaged.
      num_outages: times that Redis did not answer.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        decode_fn: Callable[[bytes], Policy],
        config: PublicationConfig | None = None,
    ):
        """Starts to receive.

        Args:
          client: of the server, from `connect`; owned by the subscriber from now on.
          name: of the run.
          decode_fn: makes a policy of a message; raises `ValueError` for one that is no good.
          config: intervals.
        """
        self.num_received = 0
        self.num_refused = 0
        self.num_outages = 0
        self._client, self._keys = client, EdgeKeys.of(name)
        self._decode_fn = decode_fn
        self._config = config or PublicationConfig()
        self._newest: Received[Policy] | None = None
        self._refused_publication: str | None = None
        self._refusal: RedisRefusedError | None = None
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy-subscriber", daemon=True)
        self._thread.start()

    @property
    def newest(self) -> Received[Policy] | None:
        """The newest good policy; None while there is none.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """
        if self._refusal is not None:
            raise self._refusal
        return self._newest

    def wait(self, timeout_sec: float, publication: str | None = None) -> Received[Policy] | None:
        """Waits for a policy.

        Args:
          timeout_sec: longest wait.
          publication: id of the one that is known; None for any.

        Returns:
          The newest policy if it is another one, else None.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """

        def is_new() -> bool:
            newest = self._newest
            return self._refusal is not None or (newest is not None and newest.publication != publication)

        with self._changed:
            return self.newest if self._changed.wait_for(is_new, timeout_sec) else None

    def close(self) -> None:
        """Stops to receive."""
        self._closed.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        """Receives until closed, over outages."""
        retry_sec = _RETRY_SEC[0]
        while not self._closed.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as notices:
                    notices.subscribe(self._keys.notices)
                    self._fetch()  # after the subscription: nothing falls between
                    retry_sec = _RETRY_SEC[0]
                    self._follow(notices)
            except redis.RedisError as error:
                if not is_outage(error):
                    with self._changed:
                        self._refusal = RedisRefusedError(f"Redis refused the client: {error}")
                        self._changed.notify_all()
                    return
                if retry_sec == _RETRY_SEC[0]:
                    _logger.warning("Redis is away, the last policy stays: %s", error)
                self.num_outages += 1
                self._closed.wait(retry_sec)
                retry_sec = min(2.0 * retry_sec, _RETRY_SEC[1])

    def _follow(self, notices: "redis.client.PubSub") -> None:
        next_poll_sec = time.monotonic() + self._config.poll_interval_sec
        while not self._closed.is_set():
            rest = next_poll_sec - time.monotonic()
            if notices.get_message(timeout=max(0.0, min(rest, _CLOSE_SEC))) is None and rest > 0.0:
                continue
            self._fetch()
            next_poll_sec = time.monotonic() + self._config.poll_interval_sec

    def _fetch(self) -> None:
        """Takes the newest policy, unless it is the one that is held, or was refused."""
        answer: Any = self._client.get(self._keys.newest_policy)
        if answer is None:
            return
        publication = answer.decode(errors="replace")
        held = self._newest.publication if self._newest is not None else None
        if publication in (held, self._refused_publication):
            return
        message: Any = self._client.get(f"{self._keys.policies}{publication}")
        if message is None:  # removed in the meantime: a notice of a newer one is on its way
            return
        try:
            policy = self._decode_fn(message)
        except ValueError as error:
            _logger.warning("policy %s is refused: %s", publication[:50], error)
            self.num_refused += 1
            self._refused_publication = publication
            return
        with self._changed:
            self._newest = Received(publication, policy)
            self.num_received += 1
            self._changed.notify_all()
