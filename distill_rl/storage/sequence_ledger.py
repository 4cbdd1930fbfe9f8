"""Which numbered messages have come: each counts once, and those that never came are known."""

import collections
import dataclasses
from typing import Any

_MAX_ACTORS = 20_000
_MAX_REMEMBERED = 4_096


@dataclasses.dataclass
class _Actor:
    """What came from one actor.

    Attributes:
      first: the first number that came; what was sent before may have gone to somebody else.
      next_number: above all that came.
      missing: numbers between the two that have not come.
      early: numbers below the first that came late.
    """

    first: int
    next_number: int
    missing: set[int] = dataclasses.field(default_factory=set)
    early: set[int] = dataclasses.field(default_factory=set)


class SequenceLedger:
    """Ledger of `(actor id, sequence number)`.

    Messages may come twice and in any order. Memory is bounded: of the actors, those heard of last are
    remembered, and of each one's gaps the newest few thousand.
    """

    def __init__(self) -> None:
        self._actors: collections.OrderedDict[str, _Actor] = collections.OrderedDict()
        self._num_forgotten_missing = 0

    def is_new(self, actor_id: str, sequence: int) -> bool:
        """Returns whether a message has not been added yet."""
        actor = self._actors.get(actor_id)
        if actor is None or sequence >= actor.next_number or sequence in actor.missing:
            return True
        return sequence < actor.first and sequence not in actor.early

    def add(self, actor_id: str, sequence: int) -> bool:
        """Adds a message, and returns whether it was new."""
        if not self.is_new(actor_id, sequence):
            return False
        actor = self._actors.setdefault(actor_id, _Actor(sequence, sequence))
        self._actors.move_to_end(actor_id)
        if sequence < actor.first:
            actor.early.add(sequence)
            _keep_newest(actor.early)
        elif sequence < actor.next_number:
            actor.missing.discard(sequence)
        else:
            skipped = range(max(actor.next_number, sequence - _MAX_REMEMBERED), sequence)
            self._num_forgotten_missing += sequence - actor.next_number - len(skipped)
            actor.missing.update(skipped)
            self._num_forgotten_missing += _keep_newest(actor.missing)
            actor.next_number = sequence + 1
        while len(self._actors) > _MAX_ACTORS:
            _, forgotten = self._actors.popitem(last=False)
            self._num_forgotten_missing += len(forgotten.missing)
        return True

    @property
    def num_missing(self) -> int:
        """Messages that were skipped by later ones of the same actor and have not come since."""
        return self._num_forgotten_missing + sum(len(actor.missing) for actor in self._actors.values())

    @property
    def num_actors(self) -> int:
        """Actors heard of."""
        return len(self._actors)

    def get_state(self) -> dict[str, Any]:
        """Returns plain containers for `set_state`."""
        actors = {
            actor_id: [actor.first, actor.next_number, sorted(actor.missing), sorted(actor.early)]
            for actor_id, actor in self._actors.items()
        }
        return {"actors": actors, "num_forgotten_missing": self._num_forgotten_missing}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self._num_forgotten_missing = state["num_forgotten_missing"]
        self._actors = collections.OrderedDict(
            (actor_id, _Actor(first, next_number, set(missing), set(early)))
            for actor_id, (first, next_number, missing, early) in state["actors"].items()
        )


def _keep_newest(numbers: set[int]) -> int:
    """Drops the smallest numbers beyond the bound, and returns how many."""
    excess = len(numbers) - _MAX_REMEMBERED
    if excess <= 0:
        return 0
    numbers.difference_update(sorted(numbers)[:excess])
    return excess
