"""Metrics of a run where Prometheus finds them."""

import time
import urllib.request

import pytest
import ray

from distill_rl.algorithms.prometheus import PrometheusMetrics

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_TIMEOUT_SEC = 60


def _scrape():
    """Returns what every node exports."""
    ports = [(n["NodeManagerAddress"], n["MetricsExportPort"]) for n in ray.nodes() if n["Alive"]]
    return "".join(urllib.request.urlopen(f"http://{h}:{p}/metrics").read().decode() for h, p in ports)


def _wait_for(is_done):
    """Waits for what every node exports of the run, by name."""
    found, deadline = {}, time.monotonic() + _TIMEOUT_SEC
    while not is_done(found) and time.monotonic() < deadline:
        lines = [line for line in _scrape().splitlines() if 'run="my_run"' in line]
        found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}
        time.sleep(0.5)
    return found


def test_metrics_are_exported_with_the_name_of_the_run(ray_cluster):
    """Under Ray's prefix and ours; a slash becomes an underscore, and a new value replaces the old."""
    metrics, start_sec = PrometheusMetrics("my_run"), time.time()
    metrics.log({"updates": 1.0, "alarm/lag": 1})
    metrics.log({"updates": 7.0, "alarm/lag": 0})
    found = _wait_for(lambda found: found.get("ray_distill_rl_updates") == 7.0)
    assert start_sec <= found.pop("ray_distill_rl_row_timestamp_seconds") <= time.time()
    assert found == {"ray_distill_rl_updates": 7.0, "ray_distill_rl_alarm_lag": 0.0}
    metrics.close()
    found = _wait_for(lambda found: found.get("ray_distill_rl_row_timestamp_seconds") == 0.0)
    assert found["ray_distill_rl_row_timestamp_seconds"] == 0.0
