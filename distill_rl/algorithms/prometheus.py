"""Metrics of a run for Prometheus, through the metrics that Ray exports from every node."""

import re
from collections.abc import Mapping

from ray.util.metrics import Gauge

_PREFIX = "distill_rl_"
_RUN = "run"


class PrometheusMetrics:
    """Sets a gauge for each metric; Prometheus sees it as `ray_distill_rl_NAME{run="..."}`.

    Needs a started Ray. What is not a letter, digit or underscore in a name becomes an underscore.
    """

    def __init__(self, run_name: str) -> None:
        """Tags all that is logged with the name of a run."""
        self._tags = {_RUN: run_name}
        self._gauges: dict[str, Gauge] = {}

    def log(self, metrics: Mapping[str, float]) -> None:
        """Sets the gauges to new values; a value that is not known is NaN."""
        for name, value in metrics.items():
            if name not in self._gauges:
                description = f"{name}, see docs/run_folder.md"
                gauge_name = _PREFIX + re.sub(r"\W", "_", name)
                self._gauges[name] = Gauge(gauge_name, description, tag_keys=(_RUN,))
            self._gauges[name].set(float(value), self._tags)
