"""The stream of reference sets in Redis, and its consumer group: entries as they are, undecoded."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import redis

from distill_rl.storage.edge_config import EdgeKeys

MESSAGE_FIELD = b"m"
"""Name of the one field of a stream entry."""

_GROUP = "learners"
_MAX_DEAD_BYTES = 64 * 1024
_MAX_PENDING = 10_000  # looked through for what was abandoned


class Entry(NamedTuple):
    """An entry of the stream.

    Attributes:
      entry_id: its id there.
      fields: its content.
      num_deliveries: times that it was handed out before.
    """

    entry_id: bytes
    fields: Mapping[bytes, bytes]
    num_deliveries: int = 0


class ReferenceStream:
    """What one consumer of the group asks of Redis. Raises `redis.RedisError` as it comes."""

    def __init__(self, client: redis.Redis, name: str, consumer: str) -> None:
        """Prepares the calls; the group is made when it is first needed.

        Args:
          client: of the server.
          name: of the run.
          consumer: name of the consumer, unlike every other's.
        """
        self._client, self._keys, self._consumer = client, EdgeKeys.of(name), consumer

    def read(self, max_entries: int, block_sec: float) -> tuple[list[Entry], int]:
        """Reads entries that nobody was handed yet; waits up to `block_sec` for the first.

        Returns:
          The entries, and the number of all in the stream, those included that were handed out and not
          removed.
        """
        for _ in range(2):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.xreadgroup(
                _GROUP,
                self._consumer,
                {self._keys.references: ">"},
                count=max_entries,
                block=max(1, int(1000 * block_sec)) if block_sec > 0.0 else None,
            )
            pipeline.xlen(self._keys.references)
            try:
                answer, num_entries = pipeline.execute()
            except redis.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self._make_group()
                continue
            streams = answer.values() if isinstance(answer, dict) else [item[1] for item in answer or []]
            entries = [Entry(entry_id, fields or {}) for items in streams for entry_id, fields in items]
            return entries, int(num_entries)
        return [], 0

    def take_over(self, max_entries: int, idle_sec: float, own: Collection[bytes]) -> list[Entry]:
        """Takes over, oldest first, what was handed out long ago and never removed.

        Args:
          max_entries: at least 1.
          idle_sec: time since it was handed out.
          own: ids of entries that the consumer itself still works on. They are left alone: to take them over
            again would count as another delivery.
        """
        idle_ms = int(1000 * idle_sec)
        try:
            pending: Any = self._client.xpending_range(
                self._keys.references, _GROUP, min="-", max="+", count=_MAX_PENDING, idle=idle_ms
            )
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            return []
        times = {
            entry["message_id"]: entry["times_delivered"]
            for entry in pending
            if entry["message_id"] not in own
        }
        if not times:
            return []
        claimed: Any = self._client.xclaim(
            self._keys.references, _GROUP, self._consumer, idle_ms, list(times)[:max_entries]
        )
        # An older server answers with nothing for entries that somebody removed by hand.
        return [Entry(entry_id, fields, times[entry_id]) for entry_id, fields in claimed if fields]

    def put_aside(self, entry: Entry, reason: str, max_dead_letters: int) -> None:
        """Moves an entry, shortened, to the dead letters, of which about `max_dead_letters` are kept."""
        content = b" ".join(entry.fields.values())
        letter: dict[Any, Any] = {
            "reason": reason,
            "entry": entry.entry_id,
            "num_bytes": len(content),
            "content": content[:_MAX_DEAD_BYTES],
        }
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xadd(self._keys.dead_letters, letter, maxlen=max_dead_letters, approximate=True)
        self._add_removal(pipeline, [entry.entry_id])
        pipeline.execute()

    def remove(self, entry_ids: Collection[bytes]) -> None:
        """Acknowledges entries, and removes them from the stream."""
        pipeline = self._client.pipeline(transaction=True)
        self._add_removal(pipeline, entry_ids)
        pipeline.execute()

    def _add_removal(self, pipeline: Any, entry_ids: Collection[bytes]) -> None:
        pipeline.xack(self._keys.references, _GROUP, *entry_ids)
        pipeline.xdel(self._keys.references, *entry_ids)

    def _make_group(self) -> None:
        """Makes the stream and its group, which begins with the oldest entry."""
        try:
            self._client.xgroup_create(self._keys.references, _GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # somebody else made it in the meantime
                raise
