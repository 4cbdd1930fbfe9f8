"""Tables and figures of offline learning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distill_rl.cli.experiments.base import Rows
from distill_rl.cli.experiments.tables import spread
from distill_rl.cli.plots import STYLE, TICKS

_COLORS = ("#8a8f98", "#7fb2f0", "#f0b27f", "#1f6fd6", "#d9730d", "#0f8a5f", "#0a5c3f")
_BASELINE_COLORS = ("#8a8f98", "#b07fd0", "#c94f4f", "#5b9a9a")
_SELECTIONS = ("final", "online", "offline")


def write_table(rows: Rows) -> str:
    """Writes a table of scores for each task, one of the ablations, and notes on what they mean."""
    methods = [row for row in rows if row["part"] in ("methods", "baselines")]
    lines: list[str] = []
    for task in dict.fromkeys(row["task"] for row in methods):
        of_task = [row for row in methods if row["task"] == task]
        lines += [f"## {task}, learned from `{of_task[0]['dataset']}`", "", *_score_lines(of_task), ""]
    ablations = [row for row in rows if row["part"] == "ablations"]
    if ablations:
        lines += [f"## Ablations, {ablations[0]['task']}", "", *_score_lines(ablations), ""]
    lines += [
        "Scores are on D4RL's scale, mean and range over seeds. `final` is the last model; `online` the best "
        "of all evaluations, chosen by the episodes it is judged by; `offline` the one where cloning the "
        "data cost least, chosen without an environment. Training is in cpu-seconds of one thread, an action "
        "in cpu-milliseconds for one state, as the method acts.",
    ]
    return "\n".join(lines)


def split_runs(rows: Rows) -> dict[str, list[list[dict[str, Any]]]]:
    """Returns the rows of each run in order, by label; the runs of a label differ in their seed."""
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for row in rows:
        runs.setdefault(row["label"], {}).setdefault(row["seed"], []).append(dict(row))
    return {label: list(of_label.values()) for label, of_label in runs.items()}


def selected(run: Sequence[dict[str, Any]], selection: str) -> dict[str, Any] | None:
    """Returns the row of a run that a rule selects: `final`, `online` or `offline`; None if it cannot."""
    if selection == "final":
        return run[-1]
    if selection == "online":
        return max(run, key=lambda row: row["episode_return"])
    if any(row["behaviour_loss"] is None for row in run):
        return None
    return min(run, key=lambda row: row["behaviour_loss"])


def _score_lines(rows: Rows) -> list[str]:
    lines = [
        "| method | seeds | final | online | offline | training, s | action, ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for label, runs in split_runs(rows).items():
        scores = [spread([_score(selected(run, selection)) for run in runs]) for selection in _SELECTIONS]
        training = np.mean([run[-1]["train_sec"] for run in runs])
        action = np.median([row["action_msec"] for run in runs for row in run])
        lines.append(f"| {label} | {len(runs)} | {' | '.join(scores)} | {training:.0f} | {action:.2f} |")
    return lines


def _score(row: dict[str, Any] | None) -> float | None:
    """Returns the score, or the return where there is no scale; None for no row."""
    if row is None:
        return None
    return row["episode_return"] if row["score"] is None else row["score"]


def draw_results(rows: Rows, folder: Path) -> list[Path]:
    """Draws scores over updates for each task, and score against the time of an action.

    Returns:
      `scores.png` and `latency.png`.
    """
    methods = [row for row in rows if row["part"] in ("methods", "baselines")]
    ablations = [row for row in rows if row["part"] == "ablations"]
    with matplotlib.rc_context(STYLE):
        _draw_scores(methods).savefig(folder / "scores.png")
        _draw_latency(ablations or methods).savefig(folder / "latency.png")
    return [folder / "scores.png", folder / "latency.png"]


def _draw_scores(rows: Rows) -> Figure:
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    num_columns = min(len(tasks), 3)
    num_rows = -(-len(tasks) // num_columns)
    figure = Figure(figsize=(1.2 + 4.2 * num_columns, 0.6 + 3.4 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axis in axes[len(tasks) :]:
        axis.set_axis_off()
    for axis, task in zip(axes, tasks):
        of_task = [row for row in rows if row["task"] == task]
        for part, colors, style in (("methods", _COLORS, "-"), ("baselines", _BASELINE_COLORS, "--")):
            of_part = split_runs([row for row in of_task if row["part"] == part])
            for color, (label, runs) in zip(colors, of_part.items()):
                updates = [row["updates"] for row in runs[0]]
                scores = np.array([[_score(row) for row in run] for run in runs])
                axis.plot(updates, scores.mean(axis=0), color=color, ls=style, label=label)
                axis.fill_between(
                    updates, scores.min(axis=0), scores.max(axis=0), color=color, alpha=0.15, lw=0
                )
        axis.set_title(task.replace("_", " "))
        axis.set_xlabel("updates")
        axis.set_ylabel("score")
        axis.xaxis.set_major_formatter(TICKS)
    handles: dict[str, Any] = {}  # a method may have been run on some tasks alone
    for axis in axes:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


def _draw_latency(rows: Rows) -> Figure:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    costs = {}
    for label, runs in split_runs(rows).items():
        action = float(np.median([row["action_msec"] for run in runs for row in run]))
        costs[label] = float(np.mean([run[-1]["train_sec"] for run in runs])), action
    middle = max(training for training, _ in costs.values()) / 2.0
    for index, (label, point) in enumerate(costs.items()):
        axis.scatter(*point, color=_COLORS[index % len(_COLORS)], s=36)
        # Neighbours, which differ in the method alone, above and below; away from the edge of the figure.
        side, alignment = (-6, "right") if point[0] > middle else (6, "left")
        offset = (side, -10 if index % 2 else 4)
        axis.annotate(label, point, xytext=offset, textcoords="offset points", ha=alignment, fontsize=8)
    axis.set_title("What a method costs")
    axis.set_xlabel("training (cpu-seconds)")
    axis.set_ylabel("one action (cpu-milliseconds)")
    axis.set_xlim(left=0.0)
    axis.set_ylim(bottom=0.0)
    axis.margins(x=0.25)
    return figure
