"""Counters and averages of the loop between actors and learners."""

import math
import time
from collections.abc import Sequence
from typing import Any

from actors.fragment import FragmentHeader
from distill_rl.algorithms.backpressure import BoundedQueue
from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.returns import ReturnTracker
from distill_rl.algorithms.update_ratio import UpdateRatio
from learners.learner import LearnerReport

_KEPT = (
    "num_env_steps",
    "num_simulator_steps",
    "num_reference_sets",
    "num_dropped_episodes",
    "num_failed_pulls",
    "num_invalid_sets",
    "num_lost_fragments",
    "num_restarts",
    "num_store_restarts",
    "num_learner_restarts",
    "num_unpublished",
)


class LoopMetrics:
    """Collects what the loop reports; every counter grows over the whole run, restarts and restores included.

    Attributes:
      num_env_steps: environment steps of all fragments that arrived.
      num_simulator_steps: control steps simulated for them.
      num_reference_sets: reference sets in them.
      num_dropped_episodes: episodes that actors gave up.
      num_failed_pulls: weight pulls that failed or timed out.
      num_invalid_sets: reference sets that learners refused.
      num_lost_fragments: fragments that learners could not fetch.
      num_restarts: env runners that came back.
      num_store_restarts: weight stores that were replaced.
      num_learner_restarts: times that the learners were replaced.
      num_unpublished: weights held back because they were not finite.
      policy_version: updates behind the weights published last.
      returns: running returns of search and student.
    """

    def __init__(self, num_return_episodes: int) -> None:
        for name in _KEPT:
            setattr(self, name, 0)
        self.num_env_steps: int
        self.num_simulator_steps: int
        self.num_reference_sets: int
        self.num_dropped_episodes: int
        self.num_failed_pulls: int
        self.num_invalid_sets: int
        self.num_lost_fragments: int
        self.num_restarts: int
        self.num_store_restarts: int
        self.num_learner_restarts: int
        self.num_unpublished: int
        self.policy_version = 0
        self.returns = ReturnTracker(num_return_episodes)
        self._statistics: dict[str, float] = {}
        self._lags: list[int] = []
        self._version_lags: list[int] = []
        self._reports: Sequence[LearnerReport] = ()
        self._last_time = time.monotonic()
        self._last_counts = self._counts(num_updates=0)

    def add_fragment(self, header: FragmentHeader) -> None:
        """Counts a fragment that arrived."""
        self.num_env_steps += header.num_env_steps
        self.num_simulator_steps += header.num_simulator_steps
        self.num_reference_sets += header.num_sets
        self.num_dropped_episodes += header.num_dropped_episodes
        self.num_failed_pulls += header.num_failed_pulls
        self._statistics = header.statistics or self._statistics
        for episode in header.episodes:
            self.returns.add(episode.acted_by, episode.episode_return)

    def check_sets(self) -> None:
        """Checks that there is something to learn from.

        Raises:
          ValueError: if no state that was visited kept its reference set.
        """
        if self.num_env_steps > 0 and self.num_reference_sets == 0:
            raise ValueError(
                "the operator must return finite values: no state of the first "
                f"{self.num_env_steps} environment steps kept its reference set, and "
                f"{self.num_dropped_episodes} episodes were given up, since simulations diverged or values "
                "were not finite"
            )

    def add_reports(self, reports: Sequence[LearnerReport]) -> None:
        """Takes the reports of one call, one for each learner."""
        self._reports = reports
        self.num_invalid_sets += sum(report.num_invalid_sets for report in reports)
        self.num_lost_fragments += sum(report.num_lost_fragments for report in reports)

    def result(
        self, *, gate: FragmentGate, ratio: UpdateRatio, queue: BoundedQueue, num_in_flight: int
    ) -> dict[str, float]:
        """Returns what a result shows; rates and lags are those since the last call, unknown values NaN."""
        lags, version_lags = gate.pop_lags()
        if lags:
            self._lags, self._version_lags = lags, version_lags
        return {
            **self._counts(ratio.num_updates),
            "policy_version": self.policy_version,
            "policy_lag_mean": _mean(self._version_lags),
            "policy_lag_max": max(self._version_lags, default=math.nan),
            "policy_lag_updates_mean": _mean(self._lags),
            "queue_fill": queue.fill,
            "fragments_in_flight": num_in_flight,
            "replay_sets": sum(report.num_replay_sets for report in self._reports),
            "student_search_ratio": self.returns.student_search_ratio,
            **{f"{kind}_return": self.returns.mean(kind) for kind in ReturnTracker.KINDS},
            **{f"{kind}_episodes": self.returns.num_episodes[kind] for kind in ReturnTracker.KINDS},
            **{f"search_{name}": value for name, value in self._statistics.items()},
            "dropped": queue.num_dropped + gate.num_stale,
            "dropped_queue_full": queue.num_dropped,
            "dropped_stale": gate.num_stale,
            "lost": gate.num_lost + self.num_lost_fragments,
            "duplicates": gate.num_duplicates,
            "invalid_sets": self.num_invalid_sets,
            "dropped_episodes": self.num_dropped_episodes,
            "failed_pulls": self.num_failed_pulls,
            "restarts": self.num_restarts,
            "store_restarts": self.num_store_restarts,
            "learner_restarts": self.num_learner_restarts,
            "unpublished": self.num_unpublished,
            "skipped_updates": max((report.num_skipped_updates for report in self._reports), default=0),
            "rollbacks": max((report.num_rollbacks for report in self._reports), default=0),
            **self._rates(ratio.num_updates),
        }

    def get_state(self) -> dict[str, Any]:
        """Returns the counters and the returns."""
        return {**{name: getattr(self, name) for name in _KEPT}, "returns": self.returns.get_state()}

    def set_state(self, state: dict[str, Any], num_updates: int) -> None:
        """Restores what `get_state` returned; rates are those from now on.

        Args:
          state: what `get_state` returned.
          num_updates: updates made until then.
        """
        for name in _KEPT:
            setattr(self, name, state.get(name, 0))
        self.returns.set_state(state["returns"])
        self._last_time, self._last_counts = time.monotonic(), self._counts(num_updates)

    def _counts(self, num_updates: int) -> dict[str, int]:
        return {
            "env_steps": self.num_env_steps,
            "simulator_steps": self.num_simulator_steps,
            "reference_sets": self.num_reference_sets,
            "updates": num_updates,
        }

    def _rates(self, num_updates: int) -> dict[str, float]:
        now, counts = time.monotonic(), self._counts(num_updates)
        elapsed_sec = max(now - self._last_time, 1e-9)
        # Learners that were replaced go on from fewer updates.
        rates = {
            f"{name}_per_sec": max(0, count - self._last_counts[name]) / elapsed_sec
            for name, count in counts.items()
        }
        self._last_time, self._last_counts = now, counts
        return rates


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
