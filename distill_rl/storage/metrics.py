"""Metrics of a run: one `log` call, written as JSON lines and as TensorBoard events."""

import contextlib
import errno
import io
import json
import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from distill_rl.storage import atomic

_logger = logging.getLogger(__name__)


class MetricsWriter:
    """Fans metrics out to `metrics.jsonl` and TensorBoard.

    A row of the file is `{"step": ..., "time": ..., name: value, ...}` with `time` in Unix seconds. A value
    that is not finite is written as null, since JSON has no NaN. Each row is written at once, so a killed run
    loses none. A disk that refuses a row costs that row, and one warning until rows are written again; the
    file then still gets a new time, by which others see that the run goes on.

    Attributes:
      num_lost_rows: rows that the disk refused, for one file or both.
    """

    def __init__(self, metrics_path: str | Path, tensorboard_folder: str | Path, first_step: int = 0):
        """Continues what is there.

        Args:
          metrics_path: the JSON-lines file.
          tensorboard_folder: folder of the event files.
          first_step: rows at this step and later, written by a run that stopped after its last checkpoint,
            are dropped: the file tells one history, and TensorBoard is told to.

        Raises:
          OSError: if the disk refuses the rows that are kept.
        """
        self._path = Path(metrics_path)
        if self._path.exists():
            kept = [row for row in read_metrics(self._path) if row["step"] < first_step]
            atomic.write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._events_path = Path(tensorboard_folder) / name
        self._first_step = first_step
        self._has_warned = False
        self.num_lost_rows = 0

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Writes one row.

        Args:
          metrics: numbers by name; a `/` in a name groups it in TensorBoard.
          step: training iteration; rows should come in its order.

        Raises:
          ValueError: if a value is not a number, naming it.
        """
        values = {name: _as_number(name, value) for name, value in metrics.items()}
        now_sec = time.time()
        row = {"step": step, "time": now_sec} | {name: _finite_or_none(v) for name, v in values.items()}
        try:
            _append(self._path, (json.dumps(row) + "\n").encode())
            self._append_events(values, step, now_sec)
        except OSError as error:
            self.num_lost_rows += 1
            if not self._has_warned:
                _logger.warning("metrics not written: %s; training goes on, and rows are lost", error)
            self._has_warned = True
            show_life(self._path)
        else:
            self._has_warned = False

    def _append_events(self, values: Mapping[str, float], step: int, time_sec: float) -> None:
        """Writes a row for TensorBoard. Not by its own writer, whose thread dies of a full disk.

        Raises:
          OSError: if the disk refuses.
        """
        summary = Summary(value=[Summary.Value(tag=name, simple_value=v) for name, v in values.items()])
        events = [Event(wall_time=time_sec, step=step, summary=summary)]
        self._events_path.parent.mkdir(parents=True, exist_ok=True)
        if not self._events_path.exists() or not self._events_path.stat().st_size:
            version = Event(wall_time=time_sec, file_version="brain.Event:2")
            start = SessionLog(status=SessionLog.START)  # hides what other files have from this step on
            events = [version, Event(wall_time=time_sec, step=self._first_step, session_log=start), *events]
        records = io.BytesIO()
        for event in events:
            RecordWriter(records).write(event.SerializeToString())
        _append(self._events_path, records.getvalue())


def show_life(metrics_path: Path) -> None:
    """Gives the file of metrics a new time without a row, for those who watch whether the run goes on."""
    with contextlib.suppress(OSError):
        metrics_path.touch()


def read_metrics(metrics_path: str | Path) -> list[dict[str, Any]]:
    """Reads the rows of a JSON-lines file, without the half line a killed writer may leave at its end.

    Args:
      metrics_path: the file; need not exist.

    Returns:
      Rows in the order they were written, null read as None.
    """
    path = Path(metrics_path)
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _append(path: Path, data: bytes) -> None:
    """Appends data to a file, or nothing of it.

    Raises:
      OSError: if the disk refuses.
    """
    with open(path, "ab", buffering=0) as file:
        end = file.tell()
        try:
            if file.write(data) < len(data):  # what still fitted
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(end)
            raise


def _as_number(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"metric `{name}` must be a number, got {value!r} ({type(value).__name__})")
    return value.item() if isinstance(value, np.number) else value


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
