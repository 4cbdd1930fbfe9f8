"""Alarms: what of a run's metrics somebody should look at."""

import dataclasses
import math
from collections.abc import Mapping

_MAX_LAG_SHARE = 0.5
_MAX_AGE_INTERVALS = 3.0
_RISING = {
    "drops": ("dropped", "lost", "dropped_episodes"),
    "restarts": ("restarts", "store_restarts", "learner_restarts"),
    "non_finite": ("skipped_updates", "rollbacks", "unpublished"),
    "lost_rows": ("lost_rows",),
    "edge": (
        "stream_missing",
        "stream_dead_letters",
        "stream_dropped_sets",
        "stream_outages",
        "publication_outages",
    ),
}
"""Counters by alarm: one that has risen since the last row raises it."""

ALARM_PREFIX = "alarm/"


@dataclasses.dataclass(frozen=True)
class AlarmLimits:
    """What is normal in a run.

    Attributes:
      max_policy_lag: updates after which reference sets are dropped; None for never.
      checkpoint_interval_sec: seconds between checkpoints.
    """

    max_policy_lag: int | None
    checkpoint_interval_sec: float


class Alarms:
    """Compares each row of metrics with the one before.

    There are seven, `lag`, `drops`, `restarts`, `non_finite`, `lost_rows`, `edge` and `checkpoint_age`:
    reference sets half as old as may be, counters that rise, and three intervals without a checkpoint.
    """

    def __init__(self, limits: AlarmLimits) -> None:
        self._limits = limits
        self._last: Mapping[str, float] = {}
        self._raised: set[str] = set()

    def check(self, metrics: Mapping[str, float]) -> tuple[dict[str, int], list[str]]:
        """Looks at a row of metrics.

        Args:
          metrics: the row, see `distill_rl.cli.metrics`; what is missing or not finite raises no alarm.

        Returns:
          1 or 0 for each alarm as `alarm/NAME`, to be logged; and a line for each that was not on before.
        """
        reasons = {name: self._rising(names, metrics) for name, names in _RISING.items()}
        reasons["lag"] = self._lag(metrics)
        reasons["checkpoint_age"] = self._checkpoint_age(metrics)
        raised = {name for name, reason in reasons.items() if reason}
        lines = [f"{name.replace('_', ' ')}: {reasons[name]}" for name in sorted(raised - self._raised)]
        self._last, self._raised = metrics, raised
        return {f"{ALARM_PREFIX}{name}": int(name in raised) for name in sorted(reasons)}, lines

    def _rising(self, names: tuple[str, ...], metrics: Mapping[str, float]) -> str:
        risen = [
            f"{name.replace('_', ' ')} rose from {self._last.get(name, 0):g} to {metrics[name]:g}"
            for name in names
            if metrics.get(name, 0) > self._last.get(name, 0 if self._last else math.inf)
        ]
        return ", ".join(risen)

    def _lag(self, metrics: Mapping[str, float]) -> str:
        lag, limit = metrics.get("policy_lag_updates_mean", math.nan), self._limits.max_policy_lag
        if limit is None or not lag > _MAX_LAG_SHARE * limit:
            return ""
        return f"reference sets are {lag:.0f} updates old on average; at {limit} they are dropped"

    def _checkpoint_age(self, metrics: Mapping[str, float]) -> str:
        age, interval = metrics.get("checkpoint_age_sec", math.nan), self._limits.checkpoint_interval_sec
        if not age > _MAX_AGE_INTERVALS * interval:
            return ""
        return f"no checkpoint for {age:.0f} s, expected every {interval:.0f} s"
