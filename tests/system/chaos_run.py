"""Runs of the command line that are meant to be disturbed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from ray_nodes import wait_until

from distill_rl.storage.metrics import read_metrics

TINY = [
    "environment.env_config.action_repeat=20",
    "env_runners.num_envs_per_env_runner=2",
    "search.num_candidates=4",
    "search.num_perturbed=2",
    "search.ascent_steps=[0.5]",
    "search.horizon_steps=2",
    "search.hold_steps=1",
    "distillation.hidden_sizes=[16]",
    "distillation.batch_size=16",
    "loop.learning_starts=32",
    "run.num_evaluation_episodes=1",
    "run.num_progress_episodes=0",
]
"""A cartpole that trains in seconds."""

_START_TIMEOUT_SEC = 240


class ChaosRun:
    """A training in a process of its own, its metrics and its actors.

    Attributes:
      folder: its run folder.
      process: the driver, or whoever supervises it.
    """

    def __init__(self, folder, *arguments, command=(sys.executable, "-m", "distill_rl.cli.main"), env=None):
        self.folder = Path(folder)
        self._log_path = self.folder.with_suffix(".log")
        arguments = ["train", "cartpole_balance", *TINY, "--out", str(folder), *arguments]
        with open(self._log_path, "w") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True
            )

    def __enter__(self):
        """Returns the run."""
        return self

    def __exit__(self, kind, error, trace):
        """Kills what is left of it."""
        for process in (*self._family(), self.process):
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    @property
    def output(self):
        """What the run has printed."""
        return self._log_path.read_text()

    @property
    def rows(self):
        """Its metrics so far."""
        path = self.folder / "metrics.jsonl"
        return read_metrics(path) if path.exists() else []

    @property
    def summary(self):
        """What came out."""
        return json.loads((self.folder / "summary.json").read_text())

    def saved_updates(self):
        """Returns the updates in the newest checkpoint."""
        name = (self.folder / "checkpoints" / "latest").read_text().strip()
        manifest = self.folder / "checkpoints" / name / "manifest.json"
        return json.loads(manifest.read_text())["metadata"]["updates"]

    def wait_for(self, is_done, what, timeout_sec=_START_TIMEOUT_SEC):
        """Waits until `is_done(rows)`, while the run goes on."""

        def check():
            assert self.process.poll() is None, self.output
            return is_done(self.rows)

        return wait_until(check, timeout_sec, f"no {what}; {self.output[-2000:]}")

    def wait_for_more_rows(self, num_rows):
        """Waits for iterations from now on."""
        start = len(self.rows)
        self.wait_for(lambda rows: len(rows) >= start + num_rows, f"{num_rows} more rows")

    def finish(self, timeout_sec=_START_TIMEOUT_SEC):
        """Waits for the end, and returns the exit code."""
        return self.process.wait(timeout_sec)

    def actors(self, title):
        """Returns the process ids of the actors whose title has this in it."""
        return sorted(p.pid for p in self._family() if title in " ".join(p.cmdline()))

    def _family(self):
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
