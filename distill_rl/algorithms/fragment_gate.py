"""Decides which fragments the learner sees: each one once, and none that is too old."""

import bisect
from typing import Any

_MAX_REMEMBERED_VERSIONS = 10_000


class FragmentGate:
    """Ledger of the fragments asked for, and gate against duplicates and stale ones.

    The driver numbers its requests for each actor, and the actor echoes the number. A fragment is accepted
    when its `(actor_id, sequence)` was asked for and has not come yet: a message that arrives twice, or a
    request repeated by a restarted actor, counts once. Every counter only grows.

    Attributes:
      num_accepted: fragments let through.
      num_duplicates: fragments that were not asked for, or had come already.
      num_stale: fragments older than `max_policy_lag` updates.
      num_stale_sets: reference sets in them.
      num_lost: fragments asked for that will not come, because their actor died.
    """

    def __init__(self, max_policy_lag: int | None = None) -> None:
        self._max_policy_lag = max_policy_lag
        self._next_sequence: dict[int, int] = {}
        self._awaited: dict[int, set[int]] = {}
        self._published: list[int] = []
        self._lags: list[int] = []
        self._version_lags: list[int] = []
        self.num_accepted = 0
        self.num_duplicates = 0
        self.num_stale = 0
        self.num_stale_sets = 0
        self.num_lost = 0

    def issue(self, actor_id: int) -> int:
        """Returns the number of the next request to `actor_id`, which from now on is awaited."""
        sequence = self._next_sequence.get(actor_id, 0)
        self._next_sequence[actor_id] = sequence + 1
        self._awaited.setdefault(actor_id, set()).add(sequence)
        return sequence

    def forget(self, actor_id: int) -> int:
        """Gives up what `actor_id` still owes, counts it as lost, and returns how much that was."""
        lost = len(self._awaited.pop(actor_id, ()))
        self.num_lost += lost
        return lost

    def publish(self, policy_version: int) -> None:
        """Notes that weights of a version went out; after a restore, that of an earlier one."""
        del self._published[bisect.bisect_left(self._published, policy_version) :]
        self._published.append(policy_version)
        del self._published[:-_MAX_REMEMBERED_VERSIONS]

    def accept(self, *, actor_id: int, sequence: int, policy_version: int, num_sets: int) -> bool:
        """Returns whether the learner should see a fragment, and counts it.

        Its lag is the number of updates, and of published versions, between its weights and the last ones
        published.

        Args:
          actor_id: the actor it came from.
          sequence: the number it echoes.
          policy_version: version of the weights it was searched with.
          num_sets: reference sets in it.
        """
        awaited = self._awaited.get(actor_id, set())
        if sequence not in awaited:
            self.num_duplicates += 1
            return False
        awaited.remove(sequence)
        lag = max(0, self._published[-1] - policy_version) if self._published else 0
        if self._max_policy_lag is not None and lag > self._max_policy_lag:
            self.num_stale += 1
            self.num_stale_sets += num_sets
            return False
        self._lags.append(lag)
        self._version_lags.append(len(self._published) - bisect.bisect_right(self._published, policy_version))
        self.num_accepted += 1
        return True

    def pop_lags(self) -> tuple[list[int], list[int]]:
        """Returns the policy lags, in updates and in versions, of what was accepted since the last call."""
        lags = self._lags, self._version_lags
        self._lags, self._version_lags = [], []
        return lags

    def get_state(self) -> dict[str, Any]:
        """Returns the sequence numbers and the counters; what is awaited is not kept."""
        counters = ("num_accepted", "num_duplicates", "num_stale", "num_stale_sets", "num_lost")
        return {
            "next_sequence": dict(self._next_sequence),
            **{name: getattr(self, name) for name in counters},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned. Numbers already issued are never issued again."""
        state = dict(state)
        for actor_id, sequence in state.pop("next_sequence").items():
            self._next_sequence[actor_id] = max(sequence, self._next_sequence.get(actor_id, 0))
        for name, value in state.items():
            setattr(self, name, value)
