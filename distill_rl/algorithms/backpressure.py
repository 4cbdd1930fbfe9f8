"""Bounds on what may be in flight and what may wait."""

import collections
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from distill_rl.checks import check_at_least_one

Item = TypeVar("Item")
Request = TypeVar("Request", bound=Hashable)


class BoundedQueue(Generic[Item]):
    """First-in first-out queue that drops its oldest item when full, and counts every drop.

    Attributes:
      capacity: most items it holds.
      num_dropped: items dropped so far.
    """

    def __init__(self, capacity: int) -> None:
        """Starts empty.

        Raises:
          ValueError: if `capacity` is below 1.
        """
        check_at_least_one("capacity", capacity)
        self.capacity = capacity
        self.num_dropped = 0
        self._items: collections.deque[Item] = collections.deque()

    def __len__(self) -> int:
        """Returns the number of items that wait."""
        return len(self._items)

    @property
    def fill(self) -> float:
        """Share of the capacity in use, in [0, 1]."""
        return len(self._items) / self.capacity

    def put(self, item: Item) -> Item | None:
        """Appends an item, and returns the oldest one if it was dropped, because the queue was full."""
        dropped = None
        if len(self._items) == self.capacity:
            dropped = self._items.popleft()
            self.num_dropped += 1
        self._items.append(item)
        return dropped

    def pop_all(self) -> list[Item]:
        """Removes and returns every item, oldest first."""
        items = list(self._items)
        self._items.clear()
        return items


class RequestPool(Generic[Request]):
    """Requests in flight: who owes what, and since when nothing has come from them.

    Attributes:
      max_in_flight: requests one owner may hold.
      timeout_sec: silence, in seconds, after which an owner is overdue.
    """

    def __init__(
        self, max_in_flight: int, timeout_sec: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts empty.

        Args:
          max_in_flight: requests one owner may hold.
          timeout_sec: of silence, after which an owner is overdue.
          clock: seconds.

        Raises:
          ValueError: if `max_in_flight` is below 1.
        """
        check_at_least_one("max_in_flight", max_in_flight)
        self.max_in_flight = max_in_flight
        self.timeout_sec = timeout_sec
        self._clock = clock
        self._owner: dict[Request, int] = {}
        self._num_held: collections.Counter[int] = collections.Counter()
        self._last_progress: dict[int, float] = {}

    def __len__(self) -> int:
        """Returns the number of requests in flight."""
        return len(self._owner)

    @property
    def requests(self) -> list[Request]:
        """Every request in flight, oldest first."""
        return list(self._owner)

    def num_free(self, owner: int) -> int:
        """Returns how many more requests `owner` may be sent."""
        return self.max_in_flight - self._num_held[owner]

    def add(self, owner: int, request: Request) -> None:
        """Counts a request as sent.

        Raises:
          ValueError: if `owner` holds `max_in_flight` requests already.
        """
        num_free = self.num_free(owner)
        if num_free <= 0:
            raise ValueError(
                f"`owner` {owner} may hold {self.max_in_flight} requests, got {self.max_in_flight + 1}"
            )
        if num_free == self.max_in_flight:
            self._last_progress[owner] = self._clock()
        self._owner[request] = owner
        self._num_held[owner] += 1

    def finish(self, request: Request) -> int:
        """Removes an answered request and returns its owner, whose clock starts again."""
        owner = self._owner.pop(request)
        self._num_held[owner] -= 1
        self._last_progress[owner] = self._clock()
        return owner

    def forget(self, owner: int) -> None:
        """Removes every request of `owner`."""
        self._owner = {request: o for request, o in self._owner.items() if o != owner}
        del self._num_held[owner]
        self._last_progress.pop(owner, None)

    def overdue(self) -> list[int]:
        """Returns the owners that hold requests and have answered none for `timeout_sec`."""
        latest = self._clock() - self.timeout_sec
        return sorted({o for o in self._owner.values() if self._last_progress[o] < latest})

    def describe(self, names: Iterable[int] | None = None) -> str:
        """Returns who owes how many requests since when, for messages."""
        owners = sorted(set(self._owner.values()) if names is None else set(names))
        now = self._clock()
        parts = [
            f"{owner}: {self.max_in_flight - self.num_free(owner)} requests, silent for "
            f"{now - self._last_progress.get(owner, now):.1f} s"
            for owner in owners
        ]
        return "; ".join(parts) or "no requests in flight"
