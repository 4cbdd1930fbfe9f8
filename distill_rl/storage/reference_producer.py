"""The sending end of the reference stream."""

import collections
import dataclasses
import socket
import threading
import time
import uuid

import redis

from distill_rl.collected import Collected
from distill_rl.storage.edge_config import EdgeKeys, StreamConfig
from distill_rl.storage.redis_client import Outages
from distill_rl.storage.reference_stream import MESSAGE_FIELD
from distill_rl.storage.reference_wire import ReferenceBatch, encode_batch, payload_bytes
from distill_rl.storage.stream_statistics import ProducerStatistics

_MAX_PIPELINE_BYTES = 2**20  # when more is freed at once, its memory goes back and is faulted in anew
_MAX_FRAGMENTS = 256  # in a message, whose header describes each
_POLL_SEC = 0.01


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
      actor_id: stands in every message: the machine's name, and what is new for every producer, so that
        numbers never come again.
      statistics: counters.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        config: StreamConfig | None = None,
    ):
        """Starts the sender.

        Args:
          client: of the server, from `connect`; owned by the producer from now on.
          name: of the run.
          config: sizes and waits.
        """
        self.actor_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
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
        self._failure: Exception | None = None  # that ended the thread
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
                lambda: self._failure or self._is_closed or not self._is_full(), self._config.max_block_sec
            )
            if self._failure is not None:
                raise self._failure
            if not has_room or self._is_closed:
                self.statistics.num_dropped_sets += num_sets
                return False
            if not self._collected:
                self._collected_since = time.monotonic()
            self._collected.append(collected)
            self._collected_bytes += num_bytes
            # A message takes a fragment of half its size, a quarter from before, and their header.
            enough_bytes = min(self._config.batch_bytes, self._config.max_message_bytes // 4)
            if self._collected_bytes >= enough_bytes or len(self._collected) == _MAX_FRAGMENTS:
                self._close_batch()
            self._changed.notify_all()
            return True

    def wait_for_room(self, timeout_sec: float) -> bool:
        """Waits until `put` would not, and returns whether it would not now.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """
        with self._changed:
            has_room = self._changed.wait_for(lambda: self._failure or not self._is_full(), timeout_sec)
            if self._failure is not None:
                raise self._failure
            return bool(has_room)

    def flush(self, timeout_sec: float) -> bool:
        """Sends what waits, and returns whether Redis acknowledged all of it in time."""
        with self._changed:
            if self._collected:
                self._close_batch()
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._failure or not self._messages, timeout_sec)
            return not self._messages

    def close(self, timeout_sec: float = 10.0) -> None:
        """Sends what waits, and stops; what is not acknowledged in time is given up, and counted.

        Takes longer than `timeout_sec` by what an answer of Redis may take.
        """
        self.flush(timeout_sec)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        self._client.close()
        with self._changed:
            left = sum(message.num_sets for message in self._messages)
            left += sum(len(collected.reference_set) for collected in self._collected)
            self.statistics.num_dropped_sets += left
            self._messages.clear()
            self._collected.clear()

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
        """Sends until the producer is closed, or cannot go on: whoever hands in is told."""
        try:
            self._send_until_closed()
        except Exception as error:  # noqa: BLE001 (a thread has nobody else to tell)
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _send_until_closed(self) -> None:
        outages = Outages("Redis takes no reference sets, they wait")
        while messages := self._await_messages():
            try:
                self._send(messages)
                outages.end()
            except redis.RedisError as error:
                retry_sec = outages.note(error)
                self.statistics.num_outages += 1
                self._sleep(retry_sec)

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

    def _send(self, messages: list[_Message]) -> None:
        """Sends as many messages as there is room for, in order, and notes which were acknowledged."""
        room = self._await_room()
        pipeline = self._client.pipeline(transaction=False)
        for message in messages[:room]:
            pipeline.xadd(self._keys.references, {MESSAGE_FIELD: message.content})
        answers = pipeline.execute(raise_on_error=False)
        errors = [answer for answer in answers if isinstance(answer, redis.RedisError)]
        num_taken = answers.index(errors[0]) if errors else len(answers)
        with self._changed:
            for _ in range(num_taken):
                message = self._messages.popleft()
                self.statistics.num_sent_messages += 1
                self.statistics.num_sent_bytes += len(message.content)
                self.statistics.num_sent_sets += message.num_sets
            self._changed.notify_all()
        if errors:
            raise errors[0]

    def _await_room(self) -> int:
        """Waits until Redis holds fewer messages than are allowed, and returns how many more it may hold."""
        while not self._is_closed:
            self.statistics.num_outstanding = int(self._client.xlen(self._keys.references))
            room = self._config.max_outstanding - self.statistics.num_outstanding
            if room > 0:
                return room
            start_sec = time.monotonic()
            self._sleep(_POLL_SEC)
            self.statistics.blocked_sec += time.monotonic() - start_sec
        return 0

    def _sleep(self, duration_sec: float) -> None:
        """Sleeps, but not after `close`."""
        deadline = time.monotonic() + duration_sec
        with self._changed:
            while not self._is_closed and (rest := deadline - time.monotonic()) > 0.0:
                self._changed.wait(rest)
