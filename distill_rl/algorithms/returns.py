"""Running returns of episodes, by who acted in them."""

import collections
import math
from collections.abc import Mapping
from typing import Any

_COUNTS = "num_episodes"


class ReturnTracker:
    """Averages the last episodes of each kind.

    RLlib's own windows are emptied at every iteration, and give NaN when no episode ended in it; these last.

    Attributes:
      num_episodes: episodes seen, of each kind.
    """

    KINDS = ("search", "student", "mixed")

    def __init__(self, window: int) -> None:
        self._returns = {kind: collections.deque[float](maxlen=window) for kind in self.KINDS}
        self.num_episodes = dict.fromkeys(self.KINDS, 0)

    def add(self, kind: str, episode_return: float) -> None:
        """Adds one finished episode, in reward units, acted by one of `KINDS`."""
        self._returns[kind].append(float(episode_return))
        self.num_episodes[kind] += 1

    def mean(self, kind: str) -> float:
        """Returns the mean return of the last episodes, or NaN before the first."""
        returns = self._returns[kind]
        return sum(returns) / len(returns) if returns else math.nan

    @property
    def student_search_ratio(self) -> float:
        """Student's mean return over the search's; NaN while one is unknown or the search's not positive."""
        search, student = self.mean("search"), self.mean("student")
        return student / search if search > 0 else math.nan

    def get_state(self) -> dict[str, Any]:
        """Returns the returns that are averaged, and the counters."""
        returns = {kind: list(returns) for kind, returns in self._returns.items()}
        return {**returns, _COUNTS: dict(self.num_episodes)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for kind, returns in self._returns.items():
            returns.clear()
            returns.extend(state[kind])
        # Older checkpoints have no counters.
        self.num_episodes = dict(state.get(_COUNTS, self.num_episodes))
