"""Figures of a run, from its rows of metrics."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

Rows = Sequence[Mapping[str, Any]]

_STUDENT, _SEARCH, _REFERENCE, _OTHER = "#1f6fd6", "#d9730d", "#8a8f98", "#0f8a5f"
STYLE: dict[Any, Any] = {
    "figure.dpi": 130,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#b5bac2",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8eaee",
    "xtick.color": "#4b515b",
    "ytick.color": "#4b515b",
    "axes.labelcolor": "#4b515b",
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}
_EVALUATED: dict[str, Any] = {
    "color": _STUDENT,
    "linestyle": ":",
    "marker": "o",
    "markersize": 5,
}
_X_LABELS = {
    "elapsed_sec": "wall clock (minutes)",
    "env_steps": "environment steps",
    "updates": "learner updates",
}
_THROUGHPUT = {
    "env_steps_per_sec": "Environment steps per second",
    "simulator_steps_per_sec": "Simulator steps per second",
    "reference_sets_per_sec": "Reference sets per second",
    "updates_per_sec": "Learner updates per second",
    "transitions_per_sec": "Transitions of batches per second",
}
_LOSSES = {
    "learner/policy_loss": "Policy loss",
    "learner/value_loss": "Value loss",
    "learner/vf_loss": "Value loss, relative",
    "learner/behaviour_loss": "Cloning the data",
    "learner/critic_loss": "Temporal differences",
    "learner/q_loss": "Minus the policy's value, relative",
    "learner/q_value": "Value of the policy",
    "learner/consistency_loss": "Latent states of the model",
    "learner/reward_loss": "Rewards of the model",
    "learner/termination_loss": "Terminations of the model",
    "learner/action_value_loss": "Values of actions",
    "learner/teacher_denoising_loss": "Teacher: denoising",
    "learner/teacher_return_loss": "Teacher: minus the predicted return",
    "learner/student_trajectory_loss": "Student: consistency of jumps",
    "learner/student_denoising_loss": "Student: denoising",
    "learner/student_return_loss": "Student: minus the predicted return",
}
_SEARCH_STATISTICS = {
    "search_effective_sample_size": "Effective sample size of a reference set",
    "search_kl": "KL from proposal to search policy (nats)",
}
_POLICY_UPDATES = {
    "learner/kl": "KL from the old policy to the new (nats)",
    "learner/clip_fraction": "Share of ratios beyond the clip",
    "learner/effective_sample_size": "Effective sample size of ratios (share)",
    "learner/policy_gradient_norm": "Norm of the policy's gradient",
}
_STALENESS = {"policy_lag_mean": "Policy lag (versions)", "dropped": "Fragments dropped"}


def _format_tick(value: float, _: int) -> str:
    """Writes a tick: `0.25`, `20`, `15k`, `1.5M`."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


TICKS = FuncFormatter(_format_tick)


def draw_plots(rows: Rows, summary: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Draws every figure the rows have data for.

    Args:
      rows: rows of metrics, in order.
      summary: of the run; its `untrained_return` becomes a reference line. May be empty.
      folder: where the PNG files go; made if absent.

    Returns:
      Paths of the files, in the order of a report.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Callable[[], Figure | None]] = {
        "return_time": lambda: _returns(rows, summary, "elapsed_sec"),
        "return_env_steps": lambda: _returns(rows, summary, "env_steps"),
        "return_updates": lambda: _returns(rows, summary, "updates") if _has_no_actors(rows) else None,
        "student_search_ratio": lambda: _ratio(rows),
        "throughput": lambda: _panels(rows, _THROUGHPUT),
        "losses": lambda: _panels(rows, _LOSSES, log_scale=True),
        "search": lambda: _panels(rows, _SEARCH_STATISTICS),
        "policy_updates": lambda: _panels(rows, _POLICY_UPDATES),
        "staleness": lambda: _panels(rows, _STALENESS),
    }
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, draw in figures.items():
            figure = draw()
            if figure is not None:
                paths.append(folder / f"{name}.png")
                figure.savefig(paths[-1])
    return paths


def series(rows: Rows, x_name: str, y_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Picks two columns, without the rows in which either is missing or null.

    Args:
      rows: rows of metrics, in order.
      x_name: of one column.
      y_name: of the other.

    Returns:
      `x` and `y`. Shapes `[n]`, float64, for the `n` rows that have both.
    """
    pairs = [(row.get(x_name), row.get(y_name)) for row in rows]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    x, y = np.array(known, np.float64).reshape(-1, 2).T
    return x, y


def _has_no_actors(rows: Rows) -> bool:
    return any("epochs" in row for row in rows)


def _returns(rows: Rows, summary: Mapping[str, Any], x_name: str) -> Figure | None:
    curves = {
        "search": (_SEARCH, *series(rows, x_name, "search_return")),
        "student": (_STUDENT, *series(rows, x_name, "student_return")),
    }
    evaluated_x, evaluated_y = series(rows, x_name, "evaluation/student_return")
    if not any(len(x) for x in (evaluated_x, *(x for _, x, _ in curves.values()))):
        return None
    figure, axes = _figure(1)
    for label, (color, x, y) in curves.items():
        if len(x):
            axes[0].plot(x / _x_scale(x_name), y, color=color, label=label)
    if len(evaluated_x):
        label = "policy, evaluated as it acts" if _has_no_actors(rows) else "student, evaluated without noise"
        axes[0].plot(evaluated_x / _x_scale(x_name), evaluated_y, **_EVALUATED, label=label)
    untrained = summary.get("untrained_return")
    if untrained is not None:
        axes[0].axhline(untrained, color=_REFERENCE, linestyle="--", linewidth=1.2, label="untrained")
    axes[0].set_title("Episode return over " + _X_LABELS[x_name].partition(" (")[0])
    axes[0].set_ylabel("mean return" if _has_no_actors(rows) else "mean return of the last episodes")
    _label_x(axes[0], x_name)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _ratio(rows: Rows) -> Figure | None:
    x, y = series(rows, "elapsed_sec", "student_search_ratio")
    if not len(x):
        return None
    figure, axes = _figure(1)
    axes[0].axhline(1.0, color=_REFERENCE, linestyle="--", linewidth=1.2)
    axes[0].plot(x / _x_scale("elapsed_sec"), y, color=_STUDENT)
    axes[0].set_title("Student's return as a share of the search's")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    # Early ratios of two returns near zero say nothing and would flatten the rest.
    axes[0].set_ylim(min(0.0, float(np.quantile(y, 0.05))), max(1.1, 1.1 * float(np.quantile(y, 0.95))))
    _label_x(axes[0], "elapsed_sec")
    return figure


def _panels(rows: Rows, titles: Mapping[str, str], log_scale: bool = False) -> Figure | None:
    """Draws one panel for each of the columns that have data."""
    curves = {name: series(rows, "elapsed_sec", name) for name in titles}
    curves = {name: (x, y) for name, (x, y) in curves.items() if len(x)}
    if not curves:
        return None
    figure, axes = _figure(len(curves))
    for axis, (name, (x, y)) in zip(axes, curves.items(), strict=True):
        axis.plot(x / _x_scale("elapsed_sec"), y, color=_OTHER)
        axis.set_title(titles[name])
        if log_scale and (y > 0).all():
            axis.set_yscale("log")
            axis.yaxis.set_minor_formatter(TICKS)
        else:
            axis.set_ylim(bottom=min(0.0, y.min()), top=1.1 * y.max() if y.max() > 0 else 1.0)
        axis.yaxis.set_major_formatter(TICKS)
        _label_x(axis, "elapsed_sec")
    return figure


def _figure(num_panels: int) -> tuple[Figure, list[Axes]]:
    num_columns = min(num_panels, 2)
    num_rows = -(-num_panels // num_columns)
    # A figure made without pyplot needs no closing and works without a display.
    figure = Figure(figsize=(8.4, 4.0 if num_rows == 1 else 2.9 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axis in axes[num_panels:]:
        axis.set_axis_off()
    return figure, list(axes[:num_panels])


def _x_scale(x_name: str) -> float:
    return 60.0 if x_name == "elapsed_sec" else 1.0


def _label_x(axis: Axes, x_name: str) -> None:
    axis.set_xlabel(_X_LABELS[x_name])
    axis.set_xlim(left=0.0)
    if x_name != "elapsed_sec":
        axis.xaxis.set_major_formatter(TICKS)
