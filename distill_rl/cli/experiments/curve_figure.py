"""The figure of learning curves: one panel for each horizontal axis, a band over seeds for each method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from distill_rl.cli.experiments.base import Rows
from distill_rl.cli.plots import STYLE, TICKS


class Curve(NamedTuple):
    """A line of the figure: rows of this method and policy."""

    method: str
    policy: str
    label: str
    color: str


CURVES = (
    Curve("distill", "student", "Distill, student (one step)", "#1f6fd6"),
    Curve("distill", "search", "Distill, search", "#d9730d"),
    Curve("sac", "policy", "RLlib SAC", "#0f8a5f"),
    Curve("ppo", "policy", "RLlib PPO", "#7a4fb5"),
)

_PANELS = {
    "wall_sec": "wall clock (minutes of training)",
    "env_steps": "environment steps",
    "simulator_steps": "simulator steps (control steps)",
}


def split_curves(rows: Rows, curve: Curve) -> list[list[Mapping[str, Any]]]:
    """Returns the rows of a curve, one list for each seed, each in the order of its evaluations."""
    own = [row for row in rows if (row["method"], row["policy"]) == (curve.method, curve.policy)]
    seeds = sorted({row["seed"] for row in own})
    return [sorted((r for r in own if r["seed"] == s), key=lambda r: r["evaluation"]) for s in seeds]


def band(
    runs: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Averages curves that were taken at different points.

    Each is interpolated linearly to the points of all of them, within the range they share.

    Args:
      runs: `x` (increasing) and `y` of each curve. Shapes `[n]`, with an `n` of its own.

    Returns:
      `x`, and mean, minimum and maximum of `y` there. Shapes `[P]`, for the `P` points in the shared range.
    """
    low, high = max(x[0] for x, _ in runs), min(x[-1] for x, _ in runs)
    points = np.unique(np.concatenate([x for x, _ in runs] + [np.array([low, high])]))
    points = points[(points >= low) & (points <= high)]
    values = np.stack([np.interp(points, x, y) for x, y in runs])
    return points, values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def draw_curves(rows: Rows, folder: Path) -> list[Path]:
    """Draws returns over wall clock, environment steps and simulator steps into `learning_curves.png`."""
    path = folder / "learning_curves.png"
    with matplotlib.rc_context(STYLE):
        # A figure made without pyplot needs no closing and works without a display.
        figure = Figure(figsize=(13.5, 4.2), layout="constrained")
        axes = figure.subplots(1, len(_PANELS), sharey=True)
        for axis, (x_name, label) in zip(axes, _PANELS.items(), strict=True):
            _draw_panel(axis, rows, x_name)
            axis.set_xlabel(label)
        axes[0].set_ylabel("return of an episode, without noise")
        axes[0].set_title("Mean over seeds; the band spans them")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.savefig(path)
    return [path]


def _draw_panel(axis: Axes, rows: Rows, x_name: str) -> None:
    scale = 60.0 if x_name == "wall_sec" else 1.0
    # A search simulates hundreds of steps for each one it takes.
    is_logarithmic = x_name == "simulator_steps"
    for curve in CURVES:
        runs = [_points(run, x_name, is_logarithmic) for run in split_curves(rows, curve)]
        runs = [(x / scale, y) for x, y in runs if len(x)]
        if runs:
            x, mean, low, high = band(runs)
            axis.plot(x, mean, color=curve.color, label=curve.label)
            axis.fill_between(x, low, high, color=curve.color, alpha=0.15, linewidth=0)
    if is_logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(TICKS)
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(left=0.0)
        axis.xaxis.set_major_formatter(TICKS)


def _points(
    run: Sequence[Mapping[str, Any]], x_name: str, is_logarithmic: bool
) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(row[x_name], row["episode_return"]) for row in run]
    kept = [(x, y) for x, y in pairs if x > 0 or not is_logarithmic]
    x, y = np.array(kept, np.float64).reshape(-1, 2).T
    return x, y
