"""The receiving end of the reference stream."""

import dataclasses
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from distill_rl.checks import check_at_least_one
from distill_rl.storage.edge_config import StreamConfig
from distill_rl.storage.framing import WireError
from distill_rl.storage.redis_client import Outages
from distill_rl.storage.reference_stream import MESSAGE_FIELD, Entry, ReferenceStream
from distill_rl.storage.reference_wire import ReferenceBatch, decode_batch
from distill_rl.storage.sequence_ledger import SequenceLedger
from distill_rl.storage.stream_statistics import ConsumerStatistics
from distill_rl.types import ReferenceSet

_MAX_ACTORS = 20_000  # whose drops are remembered
_MAX_ENTRIES = 4  # of one answer: when more are freed at once, their memory goes back and is faulted in anew

_logger = logging.getLogger(__name__)


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
        """Prepares reading.

        Args:
          client: of the server, from `connect`; owned by the consumer from now on.
          name: of the run.
          config: sizes and waits.
          check_fn: raises `ValueError` for sets that the learner has no use for.
          clock: seconds.
        """
        self.statistics = ConsumerStatistics()
        self.ledger = SequenceLedger()
        self._client = client
        self._stream = ReferenceStream(client, name, f"{socket.gethostname()}-{os.getpid()}-{id(self):x}")
        self._config = config or StreamConfig()
        self._check_fn = check_fn
        self._clock = clock
        self.last_message_sec = clock()
        self._in_flight: dict[bytes, tuple[str, int]] = {}
        self._done: set[bytes] = set()  # to be removed from the stream
        self._dropped_sets: dict[str, int] = {}  # by actor, as it said last
        self._next_take_over_sec = clock()
        self._next_try_sec = clock()
        self._outages = Outages("Redis gives no reference sets, the learner goes on")

    def read(self, max_messages: int, block_sec: float = 0.0) -> list[Delivery]:
        """Returns new messages, at most `max_messages`, and a few at once.

        Args:
          max_messages: at least 1.
          block_sec: how long to wait for the first one; below the client's timeout of 5 s.

        Raises:
          ValueError: if `max_messages` is below 1.
          RedisRefusedError: if Redis turned the client away.
        """
        check_at_least_one("max_messages", max_messages)
        rest_sec = self._next_try_sec - self._clock()
        if rest_sec > 0.0:
            time.sleep(min(block_sec, rest_sec))
            return []
        deliveries: list[Delivery] = []
        try:
            self._read_into(deliveries, max_messages, block_sec)
            self._outages.end()
        except redis.RedisError as error:
            self._note_outage(error)
        return deliveries

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Notes that the learner has what some messages held; they never come again.

        While Redis is away they stay in the stream for a while, to be removed later.

        Raises:
          RedisRefusedError: if Redis turned the client away.
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
        return {
            "ledger": self.ledger.get_state(),
            "statistics": dataclasses.asdict(self.statistics),
            "dropped_sets": dict(self._dropped_sets),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and forgets what was not acknowledged."""
        self.release()
        self.ledger.set_state(state["ledger"])
        self.statistics = ConsumerStatistics(**state["statistics"])
        self._dropped_sets = dict(state["dropped_sets"])

    def _read_into(self, deliveries: list[Delivery], max_messages: int, block_sec: float) -> None:
        """Appends what is read to `deliveries`: should Redis go away halfway, that much has come."""
        self._remove_done()
        max_entries = min(max_messages, _MAX_ENTRIES)
        entries = self._take_over(max_entries)
        if not entries:
            entries, self.statistics.num_outstanding = self._stream.read(max_entries, block_sec)
        for entry in entries:
            if (delivery := self._open(entry)) is not None:
                deliveries.append(delivery)
        self._remove_done()

    def _take_over(self, max_messages: int) -> list[Entry]:
        """Returns what another consumer read long ago and never acknowledged."""
        if self._clock() < self._next_take_over_sec:
            return []
        entries = self._stream.take_over(max_messages, self._config.claim_idle_sec, self._in_flight)
        if not entries:
            self._next_take_over_sec = self._clock() + 0.5 * self._config.claim_idle_sec
        self.statistics.num_claimed += len(entries)
        for entry in entries:
            if self._kills_its_readers(entry):
                self._put_aside(entry, f"handed out {entry.num_deliveries} times and never acknowledged")
        return [entry for entry in entries if not self._kills_its_readers(entry)]

    def _kills_its_readers(self, entry: Entry) -> bool:
        return entry.num_deliveries >= self._config.max_deliveries

    def _open(self, entry: Entry) -> Delivery | None:
        """Decodes a message; None for one that is refused or has come before."""
        try:
            if set(entry.fields) != {MESSAGE_FIELD}:
                names = [name[:20] for name in itertools.islice(entry.fields, 5)]
                raise WireError(f"an entry must have the field {MESSAGE_FIELD!r} alone, got {names}")
            message = entry.fields[MESSAGE_FIELD]
            batch = decode_batch(message, self._config.max_message_bytes)
            if self._check_fn is not None:
                for collected in batch.collected:
                    self._check_fn(collected.reference_set)
        except ValueError as error:
            self._put_aside(entry, str(error))
            return None
        key = batch.actor_id, batch.sequence
        if not self.ledger.is_new(*key) or key in self._in_flight.values():
            self.statistics.num_duplicates += 1
            self._done.add(entry.entry_id)
            return None
        self._in_flight[entry.entry_id] = key
        self.last_message_sec = self._clock()
        self.statistics.num_messages += 1
        self.statistics.num_bytes += len(message)
        self.statistics.num_sets += sum(len(collected.reference_set) for collected in batch.collected)
        self._count_dropped_sets(batch)
        return Delivery(entry.entry_id, batch)

    def _count_dropped_sets(self, batch: ReferenceBatch) -> None:
        """Adds what an actor gave up since its last message."""
        newly_dropped = batch.num_dropped_sets - self._dropped_sets.get(batch.actor_id, 0)
        if newly_dropped > 0:
            self._dropped_sets.pop(batch.actor_id, None)  # the longest silent stand first
            self._dropped_sets[batch.actor_id] = batch.num_dropped_sets
            self.statistics.num_dropped_sets += newly_dropped
        if len(self._dropped_sets) > _MAX_ACTORS:
            del self._dropped_sets[next(iter(self._dropped_sets))]

    def _put_aside(self, entry: Entry, reason: str) -> None:
        _logger.warning("message %s is refused: %s", entry.entry_id.decode(), reason)
        self._stream.put_aside(entry, reason, self._config.max_dead_letters)
        self.statistics.num_dead_letters += 1

    def _remove_done(self) -> None:
        """Acknowledges to Redis, and removes from the stream, what was acknowledged here."""
        if self._done:
            done = list(self._done)
            self._stream.remove(done)
            self._done.difference_update(done)

    def _note_outage(self, error: redis.RedisError) -> None:
        """Puts the next try off.

        Raises:
          RedisRefusedError: if waiting does not help.
        """
        self._next_try_sec = self._clock() + self._outages.note(error)
        self.statistics.num_outages += 1
