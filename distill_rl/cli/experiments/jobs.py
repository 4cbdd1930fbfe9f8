"""Runs the parts of an experiment, each in a process of its own, and keeps what is finished."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_rl.cli.experiments.base import Row
from distill_rl.cli.failure import TrainingError
from distill_rl.storage import atomic

_RESULT, _SPEC, _LOG = "result.json", "spec.json", "log.txt"
_TAIL_LINES = 5


def run_jobs(
    module: str, specs: Mapping[str, Mapping[str, Any]], folder: Path, note_fn: Callable[[str], None]
) -> list[Row]:
    """Runs jobs one after the other, so that they do not disturb one another.

    A job is `python -m MODULE SPEC RESULT`: it reads its specification from the first file and writes what
    `save_result` takes into the second. Its output goes to `log.txt` beside them. A job that has a result of
    the same specification is not run again.

    Args:
      module: dotted name of the module to run.
      specs: specifications by name of the job, plain JSON values.
      folder: each job gets a folder of its name in it.
      note_fn: takes lines about progress.

    Returns:
      The rows of all jobs, in order.

    Raises:
      TrainingError: if a job fails, naming it and its log.
    """
    rows: list[Row] = []
    # As JSON gives them back, to be compared with what is there.
    specs = json.loads(json.dumps(specs))
    for index, (name, spec) in enumerate(specs.items(), 1):
        job_folder = folder / name
        finished = _read_result(job_folder / _RESULT, spec)
        if finished is None:
            note_fn(f"[{index}/{len(specs)}] {name}")
            finished = _run(module, name, spec, job_folder)
        else:
            note_fn(f"[{index}/{len(specs)}] {name}: already there")
        rows += finished
    return rows


def save_result(path: Path, spec: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows of a finished job, with the specification they came from."""
    atomic.write_text(path, json.dumps({"spec": spec, "rows": rows}) + "\n")


def _run(module: str, name: str, spec: Mapping[str, Any], folder: Path) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(folder / _SPEC, json.dumps(spec, indent=2) + "\n")
    command = [sys.executable, "-m", module, str(folder / _SPEC), str(folder / _RESULT)]
    log_path = folder / _LOG
    with open(log_path, "w", encoding="utf-8") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    rows = _read_result(folder / _RESULT, spec)
    if status != 0 or rows is None:
        lines = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        tail = "\n".join(lines[-_TAIL_LINES:])
        raise TrainingError(f"job {name} failed with status {status}; its log is {log_path}:\n{tail}")
    return rows


def _read_result(path: Path, spec: Mapping[str, Any]) -> list[Row] | None:
    """Returns the rows of a result; None if there is none, or it is of another specification."""
    if not path.is_file():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    return result["rows"] if result["spec"] == spec else None
