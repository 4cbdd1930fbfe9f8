"""Students of one teacher that weigh rewards differently, Duan et al. (2025), Figure 4."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distill_rl.cli.experiments.base import Experiment, Row, Rows
from distill_rl.cli.experiments.ractd import run_specs
from distill_rl.cli.experiments.ractd_spec import TEACHER, make_spec, num_seeds
from distill_rl.cli.experiments.tables import spread
from distill_rl.cli.plots import STYLE

_TASKS = {"tiny": "hopper_medium_replay", "small": "hopper_full_replay", "full": "hopper_medium_replay"}
_WEIGHTS = {"tiny": (0.0, 1.0), "small": (0.0, 0.005, 0.02, 0.1), "full": (0.3, 0.5, 0.7, 1.0, 1.5)}
_COLORS = ("#8a8f98", "#7fb2f0", "#0f8a5f", "#d9730d", "#c94f4f")


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    seeds, task = range(num_seeds(scale)), _TASKS[scale]
    students = {f"weight {weight:g}": {"reward_weight": weight} for weight in _WEIGHTS[scale]}
    specs = {f"{task}-weights-seed{seed}": make_spec(scale, task, seed, students) for seed in seeds}
    return run_specs(scale, specs, folder, note_fn)


def write_table(rows: Rows) -> str:
    """Writes the return of the last student of each weight, and the best along the way."""
    lines = [
        f"{rows[0]['task']}, learned from `{rows[0]['dataset']}`.",
        "",
        "| student | seeds | last return | best return along the way |",
        "| --- | --- | --- | --- |",
    ]
    teachers = [row["episode_return"] for row in rows if row["part"] == "teacher"]
    lines.append(f"| {TEACHER} | {len(teachers)} | {spread(teachers)} | - |")
    for label, runs in _curves(rows).items():
        last, best = [run[-1][1] for run in runs], [max(value for _, value in run) for run in runs]
        lines.append(f"| {label} | {len(runs)} | {spread(last)} | {spread(best)} |")
    return "\n".join(lines)


def _curves(rows: Rows) -> dict[str, list[list[tuple[int, float]]]]:
    """Returns updates and returns of the students of each label, a list for each seed."""
    found: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for row in rows:
        if row["part"] == "student":
            points = found.setdefault(row["label"], {}).setdefault(row["seed"], [])
            points.append((row["updates"], row["episode_return"]))
    return {label: list(of_label.values()) for label, of_label in found.items()}


def _draw(rows: Rows, folder: Path) -> list[Path]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axis = figure.subplots()
        for color, (label, runs) in zip(_COLORS, _curves(rows).items()):
            updates = [update for update, _ in runs[0]]
            returns = np.array([[value for _, value in run] for run in runs])
            axis.plot(updates, returns.mean(axis=0), color=color, label=label, marker="o", ms=3)
            axis.fill_between(
                updates, returns.min(axis=0), returns.max(axis=0), color=color, alpha=0.15, lw=0
            )
        teacher = np.mean([row["episode_return"] for row in rows if row["part"] == "teacher"])
        axis.axhline(teacher, color="black", ls=":", lw=1.0, label=TEACHER)
        axis.set_xlabel("updates of the student")
        axis.set_ylabel("return")
        figure.legend(loc="outside right upper")
        figure.savefig(folder / "weights.png")
    return [folder / "weights.png"]


REWARD_WEIGHT = Experiment(title="Weight of the reward", run=_run, table=write_table, draw=_draw)
"""Table and figure of the weights."""
