"""Keeps the number of updates in step with the number of environment steps."""

import math
from typing import Any


class UpdateRatio:
    """Rate limiter between actors and learner.

    The learner owes `floor(updates_per_step * (steps - learning_starts))` updates in all, so the ratio holds
    exactly however the fragments arrive. While more than `max_pending_updates` are owed, actors have to wait.

    Source: the samples-per-insert limiter of Reverb (Cassirer et al., 2021,
      https://arxiv.org/abs/2102.04736),
    counted in updates; the learner side needs no band here because it only ever works off what is owed.
    """

    def __init__(self, updates_per_step: float, learning_starts: int, max_pending_updates: int) -> None:
        self._updates_per_step = updates_per_step
        self._learning_starts = learning_starts
        self._max_pending_updates = max_pending_updates
        self.num_steps = 0
        self.num_updates = 0

    @property
    def due(self) -> int:
        """Updates owed at this moment."""
        counted = max(0, self.num_steps - self._learning_starts)
        return max(0, math.floor(self._updates_per_step * counted + 1e-9) - self.num_updates)

    @property
    def can_insert(self) -> bool:
        """Whether actors may produce more."""
        return self.due <= self._max_pending_updates

    def insert(self, num_steps: int) -> None:
        """Counts environment steps that have arrived."""
        self.num_steps += num_steps

    def take(self, max_updates: int) -> int:
        """Claims up to `max_updates` of the updates owed, and returns how many."""
        num_updates = min(self.due, max_updates)
        self.num_updates += num_updates
        return num_updates

    def get_state(self) -> dict[str, Any]:
        """Returns the counters."""
        return {"num_steps": self.num_steps, "num_updates": self.num_updates}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.num_steps = int(state["num_steps"])
        self.num_updates = int(state["num_updates"])
