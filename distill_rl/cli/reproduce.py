"""`distill-rl reproduce`: runs an experiment and writes its rows, its table and its figures."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

from distill_rl.checks import check_choice
from distill_rl.cli.experiments import EXPERIMENTS, SCALES
from distill_rl.cli.experiments.base import Rows
from distill_rl.storage import atomic

_RESULTS, _TABLE, _RUNS, _OWNER = "results.json", "table.md", "runs", "experiment.txt"


def reproduce(name: str, scale: str, out: str | Path, note_fn: Callable[[str], None] = print) -> list[Path]:
    """Runs an experiment; what an earlier call finished in the same folder is kept.

    Args:
      name: of the experiment, see `EXPERIMENTS`.
      scale: `tiny`, `small` or `full`.
      out: folder of the results; made if missing.
      note_fn: takes lines about progress.

    Returns:
      Paths of `results.json`, `table.md` and the figures.

    Raises:
      ValueError: for an unknown name or scale, naming the nearest, or if the folder holds another experiment
        or scale.
      TrainingError: if a run fails, naming it and its log.
    """
    check_choice("name", name, EXPERIMENTS)
    check_choice("scale", scale, SCALES)
    experiment, folder = EXPERIMENTS[name], Path(out)
    _claim(folder, f"{name} --scale {scale}")
    rows = experiment.run(scale, folder / _RUNS, note_fn)
    command = shlex.join(["distill-rl", "reproduce", name, "--scale", scale, "--out", str(out)])
    atomic.write_text(folder / _RESULTS, json.dumps([dict(row) for row in rows], indent=1) + "\n")
    table = f"# {experiment.title}\n\n{experiment.table(rows)}\n\n{_provenance(command, rows)}\n"
    atomic.write_text(folder / _TABLE, table)
    return [folder / _RESULTS, folder / _TABLE, *experiment.draw(rows, folder)]


def _claim(folder: Path, experiment: str) -> None:
    """Notes whose results a folder holds: runs of another scale have the same names, and would replace them.

    Raises:
      ValueError: if it holds others.
    """
    path = folder / _RUNS / _OWNER
    if path.is_file():
        held = path.read_text(encoding="utf-8").strip()
        if held != experiment:
            raise ValueError(f"`--out` must be another folder for {experiment}: {folder} holds {held}")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, experiment + "\n")


def _provenance(command: str, rows: Rows) -> str:
    """Says by which command, and on which machines, rows were measured."""
    machines = dict.fromkeys(row["machine"] for row in rows if "machine" in row)
    return "\n".join([f"Command: `{command}`.", *(f"Machine: {machine}." for machine in machines)])
