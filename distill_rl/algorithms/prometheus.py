"""Metrics of a run for Prometheus, through the metrics that Ray exports from every node."""

import re
import time
from collections.abc import Mapping

from ray.util.metrics import Gauge

_PREFIX = "distill_rl_"
_RUN = "run"
_TIMESTAMP = "row_timestamp_seconds"


class PrometheusMetrics:
    """Sets a gauge for each metric; Prometheus sees it as `ray_distill_rl_NAME{run="..."}`.

    Needs a started Ray. What is not a letter, digit or underscore in a name becomes an underscore. Another
    one, `row_timestamp_seconds`, is the Unix time of the newest row, and 0 once no more will come: the gauges
    of a driver that is gone are no longer there, but Prometheus remembers the last value.
    """

    def __init__(self, run_name: str) -> None:
        """Tags all that is logged with the name of a run."""
        self._tags = {_RUN: run_name}
        self._gauges: dict[str, Gauge] = {}

    def log(self, metrics: Mapping[str, float]) -> None:
        """Sets the gauges to new values; a value that is not known is NaN."""
        for name, value in (*metrics.items(), (_TIMESTAMP, time.time())):
            self._set(name, value)

    def close(self) -> None:
        """Tells that no more rows will come."""
        self._set(_TIMESTAMP, 0.0)

    def _set(self, name: str, value: float) -> None:
        if name not in self._gauges:
            gauge_name = _PREFIX + re.sub(r"\W", "_", name)
            self._gauges[name] = Gauge(gauge_name, f"{name}, see docs/run_folder.md", tag_keys=(_RUN,))
        self._gauges[name].set(float(value), self._tags)
