"""Metrics of a run: one `log` call, written as JSON lines and as TensorBoard events."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from distill_rl.storage import atomic


class MetricsWriter:
    """Fans metrics out to `metrics.jsonl` and TensorBoard.

    A row of the file is `{"step": ..., "time": ..., name: value, ...}` with `time` in Unix seconds. A value
    that is not finite is written as null, since JSON has no NaN. Each row is flushed, so a killed run loses
    none.
    """

    def __init__(self, metrics_path: str | Path, tensorboard_folder: str | Path, first_step: int = 0):
        """Opens both, continuing what is there.

        Args:
          metrics_path: the JSON-lines file.
          tensorboard_folder: folder of the event files.
          first_step: rows at this step and later, written by a run that stopped after its last checkpoint,
            are dropped: the file tells one history.
        """
        metrics_path = Path(metrics_path)
        if metrics_path.exists():
            kept = [row for row in read_metrics(metrics_path) if row["step"] < first_step]
            atomic.write_text(metrics_path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = open(metrics_path, "a", encoding="utf-8")  # noqa: SIM115 (closed by `close`)
        self._tensorboard = SummaryWriter(str(tensorboard_folder), purge_step=first_step)

    def __enter__(self) -> "MetricsWriter":
        """Returns the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the writer."""
        self.close()

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Writes one row.

        Args:
          metrics: numbers by name; a `/` in a name groups it in TensorBoard.
          step: training iteration; rows should come in its order.

        Raises:
          ValueError: if a value is not a number, naming it.
        """
        values = {name: _as_number(name, value) for name, value in metrics.items()}
        row = {"step": step, "time": time.time()} | {name: _finite_or_none(v) for name, v in values.items()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, global_step=step)

    def close(self) -> None:
        """Flushes and closes both."""
        self._file.close()
        self._tensorboard.close()


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


def _as_number(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"metric `{name}` must be a number, got {value!r} ({type(value).__name__})")
    return value.item() if isinstance(value, np.number) else value


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
