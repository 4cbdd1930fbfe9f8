"""The receiving end of policies through Redis: whoever comes late reads on from the newest."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import redis

from distill_rl.storage.edge_config import EdgeKeys, PublicationConfig
from distill_rl.storage.redis_client import Outages

Policy = TypeVar("Policy")

_CLOSE_SEC = 0.2  # between two looks at whether a subscriber was closed
_CONFIRMATION_SEC = 5.0  # for a subscription

_logger = logging.getLogger(__name__)


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
        self.num_refused = 0
        self.num_outages = 0
        self._client, self._keys = client, EdgeKeys.of(name)
        self._decode_fn = decode_fn
        self._config = config or PublicationConfig()
        self._newest: Received[Policy] | None = None
        self._refused_publication: str | None = None
        self._failure: Exception | None = None  # that ended the thread
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
        if self._failure is not None:
            raise self._failure
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
            return self._failure is not None or (newest is not None and newest.publication != publication)

        with self._changed:
            return self.newest if self._changed.wait_for(is_new, timeout_sec) else None

    def close(self) -> None:
        """Stops to receive, and disconnects."""
        self._closed.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        """Receives until closed, or until it cannot go on: whoever asks for the newest policy is told."""
        try:
            self._receive_until_closed()
        except Exception as error:  # noqa: BLE001 (a thread has nobody else to tell)
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _receive_until_closed(self) -> None:
        outages = Outages("Redis is away, the last policy stays")
        while not self._closed.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as notices:
                    notices.subscribe(self._keys.notices)
                    notices.get_message(timeout=_CONFIRMATION_SEC)
                    self._fetch()  # after the subscription is confirmed: nothing falls between
                    outages.end()
                    self._follow(notices)
            except redis.RedisError as error:
                retry_sec = outages.note(error)
                self.num_outages += 1
                self._closed.wait(retry_sec)

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
            self._changed.notify_all()
