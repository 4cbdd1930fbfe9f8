"""Metrics: one row a call, readable after a crash, one history after a resume."""

import contextlib
import json
import logging
import math
import os
import resource

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill_rl.storage.metrics import MetricsWriter, read_metrics


def _writer(folder, first_step=0):
    return MetricsWriter(folder / "metrics.jsonl", folder / "tensorboard", first_step)


def test_rows_and_events_agree(tmp_path):
    """The same numbers reach both files."""
    writer = _writer(tmp_path)
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
    writer = _writer(tmp_path)
    writer.log({"a": math.nan, "b": math.inf, "c": 1.0}, 0)
    text = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (row["a"], row["b"], row["c"]) == (None, None, 1.0)


def test_the_half_line_of_a_killed_writer_is_skipped(tmp_path):
    """Reading after a crash loses only the row being written."""
    writer = _writer(tmp_path)
    writer.log({"a": 1}, 0)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1, "a"')
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0]


def test_resuming_drops_rows_after_the_checkpoint(tmp_path):
    """Steps repeated after a resume appear once."""
    writer = _writer(tmp_path)
    for step in range(5):
        writer.log({"a": 1}, step)
    writer = _writer(tmp_path, first_step=3)
    for step in (3, 4, 5):
        writer.log({"a": 2}, step)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["a"]) for row in rows] == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]


def test_a_value_that_is_no_number_is_refused(tmp_path):
    """The metric is named."""
    with pytest.raises(ValueError, match="metric `name` must be a number, got 'x'"):
        _writer(tmp_path).log({"name": "x"}, 0)


@contextlib.contextmanager
def _no_file_beyond(num_bytes):
    """Lets no file of this process grow beyond a size, which fails like a full disk: also half way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _warnings(caplog):
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_rows_that_do_not_fit_are_counted_and_later_ones_written(tmp_path, caplog):
    """One warning, no half line, and a file whose time tells that the run goes on."""
    path = tmp_path / "metrics.jsonl"
    writer = _writer(tmp_path)
    writer.log({"a": 0}, 0)
    with _no_file_beyond(path.stat().st_size + 10):
        os.utime(path, (0, 0))
        for step in (1, 2):
            writer.log({"a": step}, step)
    assert writer.num_lost_rows == 2
    assert path.stat().st_mtime > 0
    assert path.read_text().count("\n") == 1 and path.read_text().endswith("\n")
    (warning,) = _warnings(caplog)
    assert warning.startswith("metrics not written: [Errno ") and warning.endswith("rows are lost")
    writer.log({"a": 3}, 3)
    assert [row["step"] for row in read_metrics(path)] == [0, 3]


def test_events_that_do_not_fit_are_given_up_and_later_ones_written(tmp_path, caplog):
    """Also if the first did not; TensorBoard reads the rest."""
    folder, path = tmp_path / "tensorboard", tmp_path / "metrics.jsonl"
    writer = _writer(tmp_path)
    for step in range(4):
        with _no_file_beyond(60) if step < 2 else contextlib.nullcontext():
            path.write_text("")  # its row fits
            writer.log({"a": step}, step)
    assert writer.num_lost_rows == 2
    assert len(_warnings(caplog)) == 1
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    assert [(event.step, event.value) for event in accumulator.Scalars("a")] == [(2, 2.0), (3, 3.0)]


def test_tensorboard_forgets_what_a_resume_takes_back(tmp_path):
    """As the file does."""
    for first_step, value in ((0, 1.0), (3, 2.0)):
        writer = _writer(tmp_path, first_step)
        for step in range(first_step, first_step + 5):
            writer.log({"a": value}, step)
    accumulator = EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    found = [(event.step, event.value) for event in accumulator.Scalars("a")]
    assert found == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0)]
