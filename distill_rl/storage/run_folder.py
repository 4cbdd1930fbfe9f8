"""The folder of one training run.

config.yaml      the resolved configuration
metrics.jsonl    one row an iteration
tensorboard/     the same as events
checkpoints/     see `distill_rl.storage.checkpoints`
plots/           PNG
report.html      self-contained
summary.json     what came out
failure.log      the trace of a failure
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_rl.storage import atomic


class RunFolder:
    """Paths and small files of a run."""

    def __init__(self, path: str | Path):
        """Names a run folder, without touching the disk.

        Args:
          path: the folder.
        """
        self.path = Path(path).absolute()
        self.config_path = self.path / "config.yaml"
        self.metrics_path = self.path / "metrics.jsonl"
        self.tensorboard_folder = self.path / "tensorboard"
        self.checkpoints_folder = self.path / "checkpoints"
        self.plots_folder = self.path / "plots"
        self.report_path = self.path / "report.html"
        self.summary_path = self.path / "summary.json"
        self.failure_path = self.path / "failure.log"

    def is_run(self) -> bool:
        """Returns whether the folder holds a run."""
        return self.config_path.is_file()

    def create(self, overwrite: bool = False) -> None:
        """Makes the folder for a new run.

        Args:
          overwrite: whether a run that is there may be removed. What else lies beside it stays.

        Raises:
          ValueError: if the folder holds a run and `overwrite` is not set, or holds something else, or cannot
            be made or written to.
        """
        try:
            self._make(overwrite)
        except OSError as error:
            raise ValueError(f"`{self.path}` must be a folder that can be made: {error}") from error
        if not os.access(self.path, os.W_OK):
            raise ValueError(f"`{self.path}` must be a folder that this user may write to")

    def require_run(self) -> None:
        """Checks that the folder holds a run.

        Raises:
          ValueError: if it does not.
        """
        if not self.is_run():
            raise ValueError(f"`{self.path}` must be a run folder, got no {self.config_path.name} in it")

    def write_config(self, text: str) -> None:
        """Writes the resolved configuration."""
        atomic.write_text(self.config_path, text)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes what came out of the run."""
        atomic.write_text(self.summary_path, json.dumps(dict(summary), indent=2) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """Reads the summary; empty while the run has none."""
        if not self.summary_path.exists():
            return {}
        return json.loads(self.summary_path.read_text(encoding="utf-8"))

    def _make(self, overwrite: bool) -> None:
        is_used = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if is_used and not self.is_run():
            raise ValueError(f"`{self.path}` is not a run and not empty; choose another folder")
        if is_used and not overwrite:
            raise ValueError(
                f"`{self.path}` already holds a run; pass --resume to go on or --overwrite to start anew"
            )
        if is_used:
            self._remove_run()
        self.path.mkdir(parents=True, exist_ok=True)

    def _remove_run(self) -> None:
        """Removes what a run writes, its configuration last: until then the folder counts as a run."""
        atomic.sweep_leftovers(self.path)
        for path in (
            self.metrics_path,
            self.tensorboard_folder,
            self.checkpoints_folder,
            self.plots_folder,
            self.report_path,
            self.summary_path,
            self.failure_path,
            self.config_path,
        ):
            atomic.remove(path)
