"""Which modes of medium-expert data are kept, by returns of episodes: Duan et al. (2025), Figure 3."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distill_rl.cli.experiments.base import Experiment, Row, Rows
from distill_rl.cli.experiments.ractd import draw_returns, last_rows, run_specs, students, tasks_of
from distill_rl.cli.experiments.ractd_spec import DATA, make_spec, num_seeds
from distill_rl.cli.experiments.tables import spread
from distill_rl.cli.plots import STYLE

_TASK = "hopper_medium_expert"


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    # Specifications and names of the jobs are those of the experiment `ractd`, whose jobs serve here too.
    specs = {
        f"{_TASK}-seed{seed}": make_spec(scale, _TASK, seed, students(scale, _TASK))
        for seed in range(num_seeds(scale))
    }
    return run_specs(scale, specs, folder, note_fn)


def threshold(returns: list[float]) -> float:
    """Returns what parts returns into two modes: the cut with the least variance inside of the two.

    Source: Otsu (1979), "A threshold selection method from gray-level histograms".

    Args:
      returns: of episodes.

    Raises:
      ValueError: if there are not two that differ.
    """
    values = np.sort(np.asarray(returns))
    cuts = np.flatnonzero(np.diff(values) > 0.0) + 1
    if not len(cuts):
        raise ValueError(f"`returns` must hold two that differ, got {len(values)} alike")
    costs = [cut * values[:cut].var() + (len(values) - cut) * values[cut:].var() for cut in cuts]
    best = int(cuts[int(np.argmin(costs))])
    return float(0.5 * (values[best - 1] + values[best]))


def write_table(rows: Rows) -> str:
    """Writes which share of the episodes is in the upper mode of the data."""
    task = tasks_of(rows)[0]
    by_name = last_rows(rows, task)
    cut = threshold(by_name[DATA][0]["episode_returns"])
    lines = [
        f"Episodes of `{by_name[DATA][0]['dataset']}` fall into two modes, parted at a return of {cut:.0f}.",
        "",
        "| | seeds | episodes in the upper mode | mean return |",
        "| --- | --- | --- | --- |",
    ]
    for name, of_name in by_name.items():
        shares = [float(np.mean(np.array(row["episode_returns"]) > cut)) for row in of_name]
        seeds = "-" if name == DATA else f"{len(of_name)}"
        shares = shares[:1] if name == DATA else shares  # the dataset is the same for all seeds
        mean = np.mean([row["episode_return"] for row in of_name])
        lines.append(f"| {name} | {seeds} | {spread(shares, '.0%')} | {mean:.0f} |")
    return "\n".join(lines)


def _draw(rows: Rows, folder: Path) -> list[Path]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        draw_returns(figure.subplots(), rows, tasks_of(rows)[0])
        figure.savefig(folder / "modes.png")
    return [folder / "modes.png"]


MODE_SELECTION = Experiment(title="Mode selection", run=_run, table=write_table, draw=_draw)
"""Table and figure of the modes."""
