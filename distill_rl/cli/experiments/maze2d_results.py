"""Table and figures of planning in mazes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from distill_rl.cli.experiments.base import Rows
from distill_rl.cli.experiments.maze2d_run import DIFFUSER, TEACHER
from distill_rl.cli.experiments.maze2d_training import CTD, RACTD
from distill_rl.cli.experiments.tables import spread
from distill_rl.cli.plots import STYLE, TICKS
from distill_rl.envs.maze2d import CENTRE, goal_cell, wall_map

MPPI = "MPPI in the simulator"

_DRAWN = (DIFFUSER, TEACHER, f"{CTD}, 1 jump", f"{RACTD}, 1 jump")
_NUM_DRAWN_PLANS = 2
_PLAN, _PATH, _WALL = "#1f6fd6", "#d9730d", "#c9ced6"
_COLORS = {
    DIFFUSER: "#d9730d",
    f"{DIFFUSER} without guide": "#b5446e",
    TEACHER: "#1c2733",
    "DDPM": "#7a4fb5",
    "DDIM": "#1f6fd6",
    CTD: "#58b594",
    RACTD: "#0f8a5f",
    MPPI: "#8a8f98",
}
"""Of each method, whatever the number of its evaluations."""


def _group(rows: Rows) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Returns rows by layout and method, in order."""
    grouped: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        grouped.setdefault(row["layout"], {}).setdefault(row["method"], []).append(row)
    return grouped


def seed_means(rows: Rows) -> list[float]:
    """Returns the mean score of each seed."""
    return [float(np.mean(row["scores"])) for row in rows]


def write_table(rows: Rows) -> str:
    """Writes score, success rate, evaluations and time of every way to plan, maze by maze."""
    lines: list[str] = []
    for layout, methods in _group(rows).items():
        lines += [
            f"## maze2d-{layout}",
            "",
            "| method | seeds | evaluations | score | success rate | one plan, ms | "
            "faster than Diffuser by |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        diffuser_sec = np.median(np.concatenate([row["plan_sec"] for row in methods[DIFFUSER]]))
        for method, own in methods.items():
            means = seed_means(own)
            success = np.mean([row["success_rate"] for row in own])
            plan_sec = float(np.median(np.concatenate([row["plan_sec"] for row in own])))
            lines.append(
                f"| {method} | {len(own)} | {_evaluations(own[0])} | {spread(means)} | {success:.2f} | "
                f"{1e3 * plan_sec:.3g} | {diffuser_sec / plan_sec:.3g} |"
            )
        lines.append("")
    lines.append(_explain(rows))
    return "\n".join(lines)


def _evaluations(row: Mapping[str, Any]) -> str:
    if "num_evaluations" not in row:
        return "-"
    guide = row["num_guide_evaluations"]
    return f"{row['num_evaluations']}" + (f" and {guide} of the guide" if guide else "")


def _explain(rows: Rows) -> str:
    learned = [row for row in rows if row["method"] != MPPI]
    planned = [row for row in rows if row["method"] == MPPI]
    episodes = len(learned[0]["scores"])
    decisions = "; ".join(f"{1e3 * row['decision_sec']:.0f} ms in {row['layout']}" for row in planned)
    return (
        f"Scores are on D4RL's scale, means over seeds (lowest and highest) of {episodes} episodes each, "
        "which start at random and end at D4RL's goal; success is reaching it. Plans are made "
        f"once, at the start. Time is the median of single plans on {learned[0]['device']}, all methods by "
        f"turns in one process; that of MPPI is the sum of an episode's decisions ({decisions}), over "
        f"{len(planned[0]['scores'])} episodes. Diffuser and the other samplers of many steps run on the "
        "teacher's network."
    )


def draw_results(rows: Rows, folder: Path) -> list[Path]:
    """Draws plans on the mazes, and score over planning time.

    Returns:
      `maze2d_plans.png` and `maze2d_scores.png`.
    """
    grouped = _group(rows)
    with matplotlib.rc_context(STYLE):
        _draw_plans(grouped, folder / "maze2d_plans.png")
        _draw_scores(grouped, folder / "maze2d_scores.png")
    return [folder / "maze2d_plans.png", folder / "maze2d_scores.png"]


def _draw_plans(grouped: Mapping[str, Mapping[str, Rows]], path: Path) -> None:
    panels = [(layout, index) for layout in grouped for index in range(_NUM_DRAWN_PLANS)]
    figure = Figure(figsize=(2.6 * len(_DRAWN), 2.5 * len(panels) + 0.4), layout="constrained")
    axes = figure.subplots(len(panels), len(_DRAWN), squeeze=False)
    for axis_row, (layout, index) in zip(axes, panels, strict=True):
        for axis, method in zip(axis_row, _DRAWN, strict=True):
            _draw_maze(axis, layout)
            example = grouped[layout][method][0]["examples"][index]
            plan, path_taken = (np.array(example[key]) for key in ("plan", "path"))
            axis.plot(path_taken[:, 1], path_taken[:, 0], color=_PATH, linewidth=1.4, label="path")
            axis.plot(plan[:, 1], plan[:, 0], ".", color=_PLAN, markersize=3, label="plan")
            axis.plot(plan[0, 1], plan[0, 0], "o", color="black", markersize=5, label="start")
            if (layout, index) == panels[0]:
                axis.set_title(method.replace(" (", "\n("), fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.savefig(path)


def _draw_maze(axis: Axes, layout: str) -> None:
    walls = wall_map(layout)
    for row, column in np.argwhere(walls):
        corner = (column + CENTRE - 0.5, row + CENTRE - 0.5)
        axis.add_patch(Rectangle(corner, 1.0, 1.0, color=_WALL, linewidth=0))
    row, column = goal_cell(layout)
    axis.plot(column, row, "*", color="#0f8a5f", markersize=11, label="goal")
    axis.set_xlim(CENTRE - 0.5, walls.shape[1] + CENTRE - 0.5)
    axis.set_ylim(walls.shape[0] + CENTRE - 0.5, CENTRE - 0.5)
    axis.set_aspect("equal")
    axis.set_axis_off()


def _draw_scores(grouped: Mapping[str, Mapping[str, Rows]], path: Path) -> None:
    figure = Figure(figsize=(4.2 * len(grouped), 4.2), layout="constrained")
    axes = figure.subplots(1, len(grouped), squeeze=False)[0]
    for axis, (layout, methods) in zip(axes, grouped.items(), strict=True):
        families: dict[str, list[tuple[float, float]]] = {}
        for method, own in methods.items():
            msec = 1e3 * float(np.median(np.concatenate([row["plan_sec"] for row in own])))
            families.setdefault(method.split(",")[0], []).append((msec, float(np.mean(seed_means(own)))))
        for family, points in families.items():
            x, y = zip(*points, strict=True)
            axis.plot(x, y, "o-", color=_COLORS[family], markersize=5, linewidth=1.2, label=family)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(TICKS)
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("one plan (milliseconds)")
        axis.set_title(f"maze2d-{layout}")
    axes[0].set_ylabel("score")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path)
