"""The receiving end of the reference stream."""

import dataclasses
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from distill_rl.storage.edge_config import EdgeKeys, StreamConfig
from distill_rl.storage.framing import WireError
from distill_rl.storage.redis_client import RedisRefusedError, is_outage
from distill_rl.storage.reference_producer import MESSAGE_FIELD
from distill_rl.storage.reference_wire import ReferenceBatch, decode_batch
from distill_rl.storage.sequence_ledger import SequenceLedger
from distill_rl.types import ReferenceSet

_GROUP = "learners"
_MAX_DEAD_BYTES = 64 * 1024
_RETRY_SEC = (0.1, 5.0)  # first and longest wait
_MAX_CLAIMED = 32

_Entry = tuple[bytes, dict[bytes, bytes] | None]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass
class ConsumerStatistics:
    """Counters of a consumer; all of them only grow but the last two.

    Attributes:
      num_messages: good messages read for the first time.
      num_bytes: bytes of them.
      num_sets: reference sets in them.
      num_acknowledged: messages acknowledged, because the learner has what they held.
      num_duplicates: messages that had come before.
      num_dead_letters: messages that were refused, and put aside.
      num_claimed: messages taken over from a consumer that died.
      num_outages: times that Redis did not answer.
      num_outstanding: messages in Redis when last looked, those not yet acknowledged included.
      num_dropped_sets: reference sets that the actors heard of say they gave up.
    """

    num_messages: int = 0
    num_bytes: int = 0
    num_sets: int = 0
    num_acknowledged: int = 0
    num_duplicates: int = 0
    num_dead_letters: int = 0
    num_claimed: int = 0
    num_outages: int = 0
    num_outstanding: int = 0
    num_dropped_sets: int = 0


@dataclasses.dataclass(frozen=True)
class Delivery:
    """A message that waits for its acknowledgement.

    Attributes:
      entry_id: its id in the stream.
      batch: its content.
    """

    entry_id: bytes
    batch: ReferenceBatch


class ReferenceConsumer:
    """Reads messages of a consumer group, each one once, and acknowledges them when they are in the replay.

    What it acknowledges is removed from the stream, so the length of the stream is the lag, by which
    producers pace themselves. What a consumer read and never acknowledged is taken over by the next one. A
    message that cannot be read becomes a dead letter. While Redis is away nothing comes, and nothing is
    raised. One consumer of a run reads at a time: which messages have come is known to it alone.

    Not thread-safe.

    Attributes:
      statistics: counters.
      ledger: which messages have been acknowledged.
      last_message_sec: time of the last good message, or of the start, by `clock`.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        config: StreamConfig | None = None,
        check_fn: Callable[[ReferenceSet], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Prepares reading; the group is made when it is first needed.

        Args:
          client: of the server, from `connect`.
          name: of the run.
          config: sizes and waits.
          check_fn: raises `ValueError` for sets that the learner has no use for.
          clock: seconds.
        """
        self.statistics = ConsumerStatistics()
        self.ledger = SequenceLedger()
        self._client, self._keys = client, EdgeKeys.of(name)
        self._config = config or StreamConfig()
        self._check_fn = check_fn
        self._clock = clock
        self.last_message_sec = clock()
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{id(self):x}"
        self._in_flight: dict[bytes, tuple[str, int]] = {}
        self._done: set[bytes] = set()  # to be removed from the stream
        self._dropped_sets: dict[str, int] = {}
        self._next_claim_sec = clock()
        self._next_try_sec = clock()
        self._retry_sec = _RETRY_SEC[0]

    def read(self, max_messages: int, block_sec: float = 0.0) -> list[Delivery]:
        """Returns new messages, at most `max_messages`.

        Args:
          max_messages: at least 1.
          block_sec: how long to wait for the first one; below the client's timeout of 5 s.

        Raises:
          RedisRefusedError: if Redis turned the client away.
        """
        if self._clock() < self._next_try_sec:
            time.sleep(min(block_sec, self._next_try_sec - self._clock()))
            return []
        deliveries: list[Delivery] = []
        try:
            self._read_into(deliveries, max_messages, block_sec)
            self._retry_sec = _RETRY_SEC[0]
        except redis.RedisError as error:
            self._note_outage(error)
        return deliveries

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Notes that the learner has what some messages held; they never come again.

        While Redis is away they stay in the stream for a while, to be removed later.
        """
        for delivery in deliveries:
            self._in_flight.pop(delivery.entry_id, None)
            self.ledger.add(delivery.batch.actor_id, delivery.batch.sequence)
            self._done.add(delivery.entry_id)
        self.statistics.num_acknowledged += len(deliveries)
        if self._clock() >= self._next_try_sec:
            try:
                self._remove_done()
            except redis.RedisError as error:
                self._note_outage(error)

    def release(self) -> None:
        """Forgets what was read and not acknowledged; it comes again after `claim_idle_sec`."""
        self._in_flight.clear()

    def close(self) -> None:
        """Disconnects."""
        self._client.close()

    def get_state(self) -> dict[str, Any]:
        """Returns what is known of the messages that were acknowledged."""
        return {"ledger": self.ledger.get_state(), "statistics": dataclasses.asdict(self.statistics)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and forgets what was not acknowledged."""
        self.release()
        self.ledger.set_state(state["ledger"])
        self.statistics = ConsumerStatistics(**state["statistics"])

    def _read_into(self, deliveries: list[Delivery], max_messages: int, block_sec: float) -> None:
        """Appends what is read to `deliveries`: should Redis go away halfway, that much has come."""
        self._remove_done()
        entries: list[_Entry] = []
        if self._clock() >= self._next_claim_sec:
            entries = self._claim(max_messages)
            if len(entries) < min(max_messages, _MAX_CLAIMED):
                self._next_claim_sec = self._clock() + 0.5 * self._config.claim_idle_sec
        if not entries:
            entries = self._read_new(max_messages, block_sec)
        for entry in entries:
            if (delivery := self._open(*entry)) is not None:
                deliveries.append(delivery)
        self._remove_done()
        self.statistics.num_outstanding = int(self._client.xlen(self._keys.references))

    def _read_new(self, max_messages: int, block_sec: float) -> list[_Entry]:
        for _ in range(2):
            try:
                answer: Any = self._client.xreadgroup(
                    _GROUP,
                    self._consumer,
                    {self._keys.references: ">"},
                    count=max_messages,
                    block=max(1, int(1000 * block_sec)) if block_sec > 0.0 else None,
                )
                streams = answer.values() if isinstance(answer, dict) else [item[1] for item in answer or []]
                return [entry for entries in streams for entry in entries]
            except redis.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self._make_group()
        return []

    def _make_group(self) -> None:
        """Makes the stream and its group, which begins with the oldest message."""
        try:
            self._client.xgroup_create(self._keys.references, _GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # somebody else made it in the meantime
                raise

    def _claim(self, max_messages: int) -> list[_Entry]:
        """Takes over what another consumer read long ago and never acknowledged."""
        try:
            answer: Any = self._client.xautoclaim(
                self._keys.references,
                _GROUP,
                self._consumer,
                min_idle_time=int(1000 * self._config.claim_idle_sec),
                count=min(max_messages, _MAX_CLAIMED),
            )
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            return []
        entries = [
            (entry_id, fields)
            for entry_id, fields in answer[1]
            if entry_id is not None and fields is not None and entry_id not in self._in_flight
        ]
        self.statistics.num_claimed += len(entries)
        return [entry for entry in entries if not self._is_handed_out_too_often(*entry)]

    def _is_handed_out_too_often(self, entry_id: bytes, fields: dict[bytes, bytes]) -> bool:
        """Puts a message aside that, it seems, kills whoever reads it."""
        pending: Any = self._client.xpending_range(
            self._keys.references, _GROUP, min=entry_id, max=entry_id, count=1
        )
        times = pending[0]["times_delivered"] if pending else 0
        if times <= self._config.max_deliveries:
            return False
        self._put_aside(entry_id, fields, f"handed out {times} times and never acknowledged")
        return True

    def _open(self, entry_id: bytes, fields: dict[bytes, bytes] | None) -> Delivery | None:
        """Decodes a message; None for one that is refused or has come before."""
        try:
            if not fields or set(fields) != {MESSAGE_FIELD}:
                names = [name[:20] for name in fields or ()]
                raise WireError(f"an entry must have the field {MESSAGE_FIELD!r} alone, got {names[:5]}")
            message = fields[MESSAGE_FIELD]
            batch = decode_batch(message, self._config.max_message_bytes)
            if self._check_fn is not None:
                for collected in batch.collected:
                    self._check_fn(collected.reference_set)
        except ValueError as error:
            self._put_aside(entry_id, fields or {}, str(error))
            return None
        key = batch.actor_id, batch.sequence
        if not self.ledger.is_new(*key) or key in self._in_flight.values():
            self.statistics.num_duplicates += 1
            self._done.add(entry_id)
            return None
        self._in_flight[entry_id] = key
        self.last_message_sec = self._clock()
        self.statistics.num_messages += 1
        self.statistics.num_bytes += len(message)
        self.statistics.num_sets += sum(len(collected.reference_set) for collected in batch.collected)
        newly_dropped = batch.num_dropped_sets - self._dropped_sets.get(batch.actor_id, 0)
        if newly_dropped > 0:
            self._dropped_sets[batch.actor_id] = batch.num_dropped_sets
            self.statistics.num_dropped_sets += newly_dropped
        return Delivery(entry_id, batch)

    def _put_aside(self, entry_id: bytes, fields: dict[bytes, bytes], reason: str) -> None:
        """Moves a message to the dead letters, shortened."""
        _logger.warning("message %s is refused: %s", entry_id.decode(), reason)
        content = b" ".join(fields.values())
        letter: dict[Any, Any] = {
            "reason": reason,
            "entry": entry_id,
            "num_bytes": len(content),
            "content": content[:_MAX_DEAD_BYTES],
        }
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xadd(self._keys.dead_letters, letter, maxlen=self._config.max_dead_letters, approximate=True)
        pipeline.xack(self._keys.references, _GROUP, entry_id)
        pipeline.xdel(self._keys.references, entry_id)
        pipeline.execute()
        self.statistics.num_dead_letters += 1

    def _remove_done(self) -> None:
        """Acknowledges to Redis, and removes from the stream, what was acknowledged here."""
        if not self._done:
            return
        done = list(self._done)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xack(self._keys.references, _GROUP, *done)
        pipeline.xdel(self._keys.references, *done)
        pipeline.execute()
        self._done.difference_update(done)

    def _note_outage(self, error: redis.RedisError) -> None:
        """Puts the next try off.

        Raises:
          RedisRefusedError: if waiting does not help.
        """
        if not is_outage(error):
            raise RedisRefusedError(f"Redis refused the client: {error}") from error
        if self._retry_sec == _RETRY_SEC[0]:
            _logger.warning("Redis gives no reference sets, the learner goes on: %s", error)
        self.statistics.num_outages += 1
        self._next_try_sec = self._clock() + self._retry_sec
        self._retry_sec = min(2.0 * self._retry_sec, _RETRY_SEC[1])
