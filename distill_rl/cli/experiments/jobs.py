"""Runs the parts of an experiment, and keeps what is finished."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distill_rl.cli.experiments.base import Row
from distill_rl.cli.failure import TrainingError
from distill_rl.datasets.store import command_for, dataset_names, datasets_folder
from distill_rl.storage import atomic

_RESULT, _SPEC, _LOG = "result.json", "spec.json", "log.txt"
_TAIL_LINES = 5


RunFn = Callable[[Mapping[str, Any], Path], None]
"""`(spec, folder)`: runs a job and leaves its result in the folder, see `save_result`."""


def run_jobs(
    run_fn: RunFn,
    specs: Mapping[str, Mapping[str, Any]],
    folder: Path,
    note_fn: Callable[[str], None],
    num_parallel: int = 1,
) -> list[Row]:
    """Runs jobs, one after the other by default, so that they do not disturb one another.

    A job that has a result of the same specification is not run again.

    Args:
      run_fn: runs one.
      specs: specifications by name of the job, plain JSON values.
      folder: each job gets a folder of its name in it.
      note_fn: takes lines about progress.
      num_parallel: jobs at a time, for those that keep to one core.

    Returns:
      The rows of all jobs, in order.

    Raises:
      TrainingError: from `run_fn`, if a job fails.
    """
    specs = _as_json(specs)

    def run_one(index: int, name: str) -> list[Row]:
        spec, job_folder = specs[name], folder / name
        finished = read_result(job_folder, spec)
        if finished is not None:
            note_fn(f"[{index}/{len(specs)}] {name}: already there")
            return finished
        note_fn(f"[{index}/{len(specs)}] {name}")
        job_folder.mkdir(parents=True, exist_ok=True)
        run_fn(spec, job_folder)
        finished = read_result(job_folder, spec)
        assert finished is not None
        return finished

    with ThreadPoolExecutor(num_parallel) as pool:
        futures = [pool.submit(run_one, index, name) for index, name in enumerate(specs, 1)]
        try:
            return [row for future in futures for row in future.result()]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def check_datasets(specs: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Checks that the datasets of all jobs that are not finished are here, before the first one runs.

    Args:
      specs: see `run_jobs`; each names its `dataset`.
      folder: see `run_jobs`.

    Raises:
      ValueError: naming all that are missing, and the commands that bring them here.
    """
    unfinished = [spec for name, spec in _as_json(specs).items() if read_result(folder / name, spec) is None]
    known = dataset_names()
    missing = [name for name in dict.fromkeys(spec["dataset"] for spec in unfinished) if name not in known]
    if missing:
        commands = "\n".join(f"  {name}: {command_for(name)}" for name in missing)
        raise ValueError(f"`{datasets_folder()}` must hold all datasets, got none of these:\n{commands}")


def in_subprocess(module: str) -> RunFn:
    """Returns a function that runs jobs as `python -m MODULE SPEC FOLDER`.

    The module reads its specification from the first file and calls `save_result` with the folder. Its output
    goes to `log.txt` in there.

    Args:
      module: dotted name of the module to run.

    Returns:
      The function; it raises a `TrainingError` that names the job and its log if the job fails or leaves no
      result.
    """

    def run(spec: Mapping[str, Any], folder: Path) -> None:
        spec_path, log_path = folder / _SPEC, folder / _LOG
        atomic.write_text(spec_path, json.dumps(spec, indent=2) + "\n")
        command = [sys.executable, "-m", module, str(spec_path), str(folder)]
        with open(log_path, "w", encoding="utf-8") as log:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        if status != 0 or read_result(folder, spec) is None:
            lines = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            tail = "\n".join(lines[-_TAIL_LINES:])
            raise TrainingError(
                f"job {folder.name} failed with status {status}; its log is {log_path}:\n{tail}"
            )

    return run


def save_result(folder: Path, spec: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows of a finished job into its folder, with the specification they came from."""
    atomic.write_text(folder / _RESULT, json.dumps({"spec": spec, "rows": rows}) + "\n")


def read_result(folder: Path, spec: Mapping[str, Any]) -> list[Row] | None:
    """Returns the rows of a job; None if there are none, or they are of another specification."""
    path = folder / _RESULT
    if not path.is_file():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    return result["rows"] if result["spec"] == spec else None


def _as_json(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns specifications as JSON gives them back, to be compared with what is there."""
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(specs))
    return plain
