"""The sending end of the reference stream."""

import collections
import dataclasses
import logging
import socket
import threading
import time
import uuid

import redis

from distill_rl.collected import Collected
from distill_rl.storage.edge_config import EdgeKeys, StreamConfig
from distill_rl.storage.redis_client import RedisRefusedError, is_outage
from distill_rl.storage.reference_wire import ReferenceBatch, encode_batch, payload_bytes

MESSAGE_FIELD = b"m"
"""Name of the one field of a stream entry."""

_MAX_PIPELINE_BYTES = 4 * 2**20
_POLL_SEC = 0.01
_RETRY_SEC = (0.05, 2.0)  # first and longest wait

_logger = logging.getLogger(__name__)


@dataclasses.dataclass
class ProducerStatistics:
    """Counters of a producer; all of them only grow but `num_outstanding`.

    Attributes:
      num_sets: reference sets handed in.
      num_sent_messages: messages that Redis acknowledged.
      num_sent_bytes: bytes of them.
      num_sent_sets: reference sets in them.
      num_dropped_sets: reference sets given up, because the buffer stayed full or the producer was closed.
      num_outages: times that Redis did not answer, or had no memory or disk left.
      blocked_sec: seconds that were waited for the consumer.
      num_outstanding: messages in Redis when last looked, of all producers together.
    """

    num_sets: int = 0
    num_sent_messages: int = 0
    num_sent_bytes: int = 0
    num_sent_sets: int = 0
    num_dropped_sets: int = 0
    num_outages: int = 0
    blocked_sec: float = 0.0
    num_outstanding: int = 0


@dataclasses.dataclass(frozen=True)
class _Message:
    content: bytes
    num_sets: int


class ReferenceProducer:
    """Sends what an actor collects, in batches, from a thread of its own.

    A batch goes out when it is large enough or its oldest set has waited long enough. While too many messages
    wait for the learner nothing is sent; while Redis is away nothing is lost: what it did not acknowledge is
    sent again when it is back, so that a message may arrive twice, with the same number. The buffer between
    is bounded: when it is full, `put` blocks, and then gives sets up, counted.

    Attributes:
      actor_id: stands in every message; new for every producer, so that numbers never come again.
      statistics: counters.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        config: StreamConfig | None = None,
        actor_name: str | None = None,
    ):
        """Starts the sender.

        Args:
          client: of the server, from `connect`; owned by the producer from now on.
          name: of the run.
          config: sizes and waits.
          actor_name: what the id begins with; the name of the machine by default.
        """
        self.actor_id = f"{actor_name or socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self.statistics = ProducerStatistics()
        self._client, self._keys = client, EdgeKeys.of(name)
        self._config = config or StreamConfig()
        self._changed = threading.Condition()
        self._collected: list[Collected] = []
        self._collected_bytes = 0
        self._collected_since = 0.0
        self._messages: collections.deque[_Message] = collections.deque()
        self._sequence = 0
        self._is_closed = False
        self._refusal: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="reference-producer", daemon=True)
        self._thread.start()

    def put(self, collected: Collected) -> bool:
        """Hands in a fragment; waits while the buffer is full.

        Returns:
          Whether it will be sent; False if it was given up, and counted.

        Raises:
          ValueError: if a set breaks its contract, or is too large for one message.
          RedisRefusedError: if Redis turned the client away in the meantime.
        """
        collected.reference_set.validate()
        num_bytes, num_sets = payload_bytes([collected]), len(collected.reference_set)
        if num_bytes > self._config.max_message_bytes // 2:
            raise ValueError(
                f"`collected` must have at most {self._config.max_message_bytes // 2} bytes, half of "
                f"max_message_bytes, got {num_bytes}"
            )
        with self._changed:
            self.statistics.num_sets += num_sets
            has_room = self._changed.wait_for(
                lambda: self._refusal or self._is_closed or not self._is_full(), self._config.max_block_sec
            )
            if self._refusal is not None:
                raise self._refusal
            if not has_room or self._is_closed:
                self.statistics.num_dropped_sets += num_sets
                return False
            if not self._collected:
                self._collected_since = time.monotonic()
            self._collected.append(collected)
            self._collected_bytes += num_bytes
            if self._collected_bytes >= min(self._config.batch_bytes, self._config.max_message_bytes // 2):
                self._close_batch()
            self._changed.notify_all()
            return True

    def wait_for_room(self, timeout_sec: float) -> bool:
        """Waits until `put` would not, and returns whether it would not now.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """
        with self._changed:
            has_room = self._changed.wait_for(lambda: self._refusal or not self._is_full(), timeout_sec)
            if self._refusal is not None:
                raise self._refusal
            return bool(has_room)

    def flush(self, timeout_sec: float) -> bool:
        """Sends what waits, and returns whether Redis acknowledged all of it in time."""
        with self._changed:
            if self._collected:
                self._close_batch()
                self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._messages or bool(self._refusal), timeout_sec)

    def close(self, timeout_sec: float = 10.0) -> None:
        """Sends what waits, and stops; what is not acknowledged in time is given up, and counted."""
        self.flush(timeout_sec)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(timeout_sec)
        self.statistics.num_dropped_sets += sum(message.num_sets for message in self._messages)
        self._messages.clear()
        self._client.close()

    def _is_full(self) -> bool:
        return len(self._messages) >= self._config.max_buffered_batches

    def _close_batch(self) -> None:
        """Turns what was collected into a message. Needs the lock."""
        batch = ReferenceBatch(
            self.actor_id, self._sequence, tuple(self._collected), self.statistics.num_dropped_sets
        )
        num_sets = sum(len(collected.reference_set) for collected in self._collected)
        self._messages.append(_Message(encode_batch(batch), num_sets))
        self._sequence += 1
        self._collected, self._collected_bytes = [], 0

    def _run(self) -> None:
        """Sends until the producer is closed or turned away."""
        retry_sec = _RETRY_SEC[0]
        while True:
            messages = self._await_messages()
            if not messages:
                return
            try:
                is_progress = self._send(messages)
            except redis.RedisError as error:
                if not is_outage(error):
                    with self._changed:
                        self._refusal = RedisRefusedError(f"Redis refused the client: {error}")
                        self._changed.notify_all()
                    return
                if retry_sec == _RETRY_SEC[0]:
                    _logger.warning("Redis takes no reference sets, they wait: %s", error)
                self.statistics.num_outages += 1
                is_progress = False
            if is_progress:
                retry_sec = _RETRY_SEC[0]
            else:
                self._sleep(retry_sec)
                retry_sec = min(2.0 * retry_sec, _RETRY_SEC[1])

    def _await_messages(self) -> list[_Message]:
        """Returns the next messages to send; none when closed."""
        with self._changed:
            while not self._messages and not self._is_closed:
                if not self._collected:
                    self._changed.wait()
                    continue
                rest = self._collected_since + self._config.max_delay_sec - time.monotonic()
                if rest <= 0.0:
                    self._close_batch()
                else:
                    self._changed.wait(rest)
            if self._is_closed:
                return []
            messages, num_bytes = [], 0
            for message in self._messages:
                messages.append(message)
                num_bytes += len(message.content)
                if num_bytes >= _MAX_PIPELINE_BYTES:
                    break
            return messages

    def _send(self, messages: list[_Message]) -> bool:
        """Sends as many messages as there is room for, in order; returns whether any was acknowledged."""
        room = self._await_room()
        pipeline = self._client.pipeline(transaction=False)
        for message in messages[:room]:
            pipeline.xadd(self._keys.references, {MESSAGE_FIELD: message.content})
        pipeline.xlen(self._keys.references)
        *answers, num_outstanding = pipeline.execute(raise_on_error=False)
        errors = [answer for answer in answers if isinstance(answer, redis.RedisError)]
        num_taken = answers.index(errors[0]) if errors else len(answers)
        with self._changed:
            for _ in range(num_taken):
                message = self._messages.popleft()
                self.statistics.num_sent_messages += 1
                self.statistics.num_sent_bytes += len(message.content)
                self.statistics.num_sent_sets += message.num_sets
            if isinstance(num_outstanding, int):
                self.statistics.num_outstanding = num_outstanding
            self._changed.notify_all()
        if errors:
            raise errors[0]
        return num_taken > 0

    def _await_room(self) -> int:
        """Waits until Redis holds fewer messages than are allowed, and returns how many more it may hold."""
        start_sec = time.monotonic()
        outstanding = self.statistics.num_outstanding
        while outstanding >= self._config.max_outstanding and not self._is_closed:
            self._sleep(_POLL_SEC)
            outstanding = int(self._client.xlen(self._keys.references))
            self.statistics.num_outstanding = outstanding
            self.statistics.blocked_sec += time.monotonic() - start_sec
            start_sec = time.monotonic()
        return max(0, self._config.max_outstanding - outstanding)

    def _sleep(self, duration_sec: float) -> None:
        """Sleeps, but not after `close`."""
        deadline = time.monotonic() + duration_sec
        with self._changed:
            while not self._is_closed and (rest := deadline - time.monotonic()) > 0.0:
                self._changed.wait(rest)
