"""Metrics: one row a call, readable after a crash, one history after a resume."""

import json
import math

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill_rl.storage.metrics import MetricsWriter, read_metrics


def _writer(folder, first_step=0):
    return MetricsWriter(folder / "metrics.jsonl", folder / "tensorboard", first_step)


def test_rows_and_events_agree(tmp_path):
    """The same numbers reach both files."""
    with _writer(tmp_path) as writer:
        for step in range(3):
            writer.log({"returns/student": 0.5 * step, "updates": np.int64(step)}, step)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(r["step"], r["returns/student"], r["updates"]) for r in rows] == [
        (0, 0, 0),
        (1, 0.5, 1),
        (2, 1, 2),
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("returns/student")] == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_a_value_that_is_not_finite_becomes_null(tmp_path):
    """Every line is strict JSON."""
    with _writer(tmp_path) as writer:
        writer.log({"a": math.nan, "b": math.inf, "c": 1.0}, 0)
    text = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (row["a"], row["b"], row["c"]) == (None, None, 1.0)


def test_the_half_line_of_a_killed_writer_is_skipped(tmp_path):
    """Reading after a crash loses only the row being written."""
    with _writer(tmp_path) as writer:
        writer.log({"a": 1}, 0)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1, "a"')
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0]


def test_resuming_drops_rows_after_the_checkpoint(tmp_path):
    """Steps repeated after a resume appear once."""
    with _writer(tmp_path) as writer:
        for step in range(5):
            writer.log({"a": 1}, step)
    with _writer(tmp_path, first_step=3) as writer:
        for step in (3, 4, 5):
            writer.log({"a": 2}, step)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["a"]) for row in rows] == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]


def test_a_value_that_is_no_number_is_refused(tmp_path):
    """The metric is named."""
    with (
        _writer(tmp_path) as writer,
        pytest.raises(ValueError, match="metric `name` must be a number, got 'x'"),
    ):
        writer.log({"name": "x"}, 0)
