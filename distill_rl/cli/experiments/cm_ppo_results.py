"""The table and the figures of PPO with a consistency policy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from distill_rl.cli.experiments.base import Rows
from distill_rl.cli.plots import STYLE, TICKS

_CONFIDENCE = 0.95


class Line(NamedTuple):
    """How a variant is shown."""

    label: str
    color: str
    style: str = "-"


LINES = {
    "gaussian": Line("Gaussian (RLlib)", "#7a4fb5"),
    "literal": Line("literal: exact ratios, A L", "#d9730d"),
    "bounded": Line("bounded: steps' ratios, exp(A / eta) L", "#1f6fd6"),
    "no_consistency_loss": Line("steps' ratios alone", "#1f6fd6", "--"),
    "clamped_weights": Line("steps' ratios, max(A, 0) L", "#1f6fd6", "-."),
    "linear_weights": Line("steps' ratios, A L", "#0f8a5f", ":"),
    "exact_only": Line("exact ratios alone", "#d9730d", "--"),
    "loss_difference": Line("loss differences, exp(A / eta) L", "#0f8a5f"),
}
_AXES = {"env_steps": "environment steps", "episodes": "episodes of training"}
"""What returns are shown over; the paper's Figure 3 has episodes."""

_TITLES = {
    "ratio_mean": ("Mean ratio: 1 for importance weights", "linear"),
    "policy_gradient_norm": ("Norm of the policy's gradient", "log"),
    "kl": ("KL from the old policy to the new (nats)", "log"),
    "effective_sample_size": ("Effective sample size of ratios (share)", "linear"),
    "consistency_loss": ("Weighted consistency loss", "symlog"),
}


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over the first axis and the half width of its confidence interval (Student's t).

    Args:
      values: one row for each seed. Shape `[S, ...]`; with one seed the width is zero.
    """
    count = len(values)
    if count < 2:
        return values.mean(axis=0), np.zeros(values.shape[1:])
    quantile = stats.t.ppf(0.5 + _CONFIDENCE / 2, count - 1)
    return values.mean(axis=0), quantile * values.std(axis=0, ddof=1) / np.sqrt(count)


def split_runs(rows: Rows, task: str, variant: str) -> list[list[Mapping[str, Any]]]:
    """Returns the rows of a variant on a task, one list for each seed, in the order of training."""
    own = [row for row in rows if (row.get("task"), row.get("variant")) == (task, variant)]
    seeds = sorted({row["seed"] for row in own})
    return [sorted((r for r in own if r["seed"] == seed), key=lambda r: r["env_steps"]) for seed in seeds]


def shared_curves(runs: Sequence[Sequence[Mapping[str, Any]]], x_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points within the range that all seeds share, and the returns of each seed there.

    Seeds are evaluated at points of their own, between which returns are interpolated linearly. Where no
    episode ended between two evaluations, the later one counts.

    Args:
      runs: rows of each seed, in order.
      x_name: what points are of: `env_steps` or `episodes`.

    Returns:
      Shapes `[P]` and `[S, P]`.
    """
    curves = [np.array([(row[x_name], row["episode_return"]) for row in run], np.float64).T for run in runs]
    points = np.unique(np.concatenate([x for x, _ in curves]))
    points = points[points <= min(x[-1] for x, _ in curves)]
    return points, np.stack([np.interp(points, x, y) for x, y in curves])


def write_table(rows: Rows) -> str:
    """Writes final returns, and what likelihoods and updates cost."""
    lines = [
        "| task | policy | seeds | steps | return at the end | standard deviation | min | max | mean return "
        "along the way |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task in _tasks(rows):
        for variant, line in LINES.items():
            runs = split_runs(rows, task, variant)
            if runs:
                lines.append(_table_line(task, line.label, runs))
    lines += [
        "",
        "Returns of whole episodes without noise: mean over seeds with the 95 % confidence interval of the "
        "mean (Student's t), and standard deviation between seeds. The last column is the mean over all "
        "evaluations of a run, the area under its learning curve.",
        "",
        *_timing_lines(rows),
    ]
    return "\n".join(lines)


def draw_results(rows: Rows, folder: Path) -> list[Path]:
    """Draws `cm_ppo_returns.png` and, of the task with most variants, `cm_ppo_diagnosis.png`."""
    tasks = _tasks(rows)
    num_variants = {task: len({row["variant"] for row in rows if row.get("task") == task}) for task in tasks}
    with matplotlib.rc_context(STYLE):
        returns = _draw_returns(rows, tasks, folder / "cm_ppo_returns.png")
        diagnosed = max(tasks, key=lambda task: num_variants[task])
        return [returns, _draw_diagnosis(rows, diagnosed, folder / "cm_ppo_diagnosis.png")]


def _draw_returns(rows: Rows, tasks: Sequence[str], path: Path) -> Path:
    figure = Figure(figsize=(4.6 * len(tasks), 7.0), layout="constrained")
    axes = figure.subplots(len(_AXES), len(tasks), squeeze=False)
    for column, task in zip(axes.T, tasks, strict=True):
        action_repeat = next(row["action_repeat"] for row in rows if row.get("task") == task)
        repeats = f", action repeat {action_repeat}" if action_repeat > 1 else ""
        column[0].set_title(f"{task}{repeats}")
        # Intervals of few seeds reach far beyond what any seed did.
        seen = [row["episode_return"] for row in rows if row.get("task") == task]
        margin = 0.1 * (max(seen) - min(seen)) + 1e-6
        for axis, (x_name, label) in zip(column, _AXES.items(), strict=True):
            for variant in ("gaussian", "literal", "bounded"):
                _draw_band(axis, split_runs(rows, task, variant), x_name, LINES[variant])
            axis.set_xlabel(label)
            axis.xaxis.set_major_formatter(TICKS)
            axis.set_ylim(min(seen) - margin, max(seen) + margin)
    for axis in axes[:, 0]:
        axis.set_ylabel("return without noise; band: 95 % interval")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.savefig(path)
    return path


def _draw_diagnosis(rows: Rows, task: str, path: Path) -> Path:
    figure = Figure(figsize=(12.5, 7.2), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for variant, line in LINES.items():
        runs = split_runs(rows, task, variant)
        if not runs:
            continue
        for axis, name in zip(axes[1:], _TITLES, strict=True):
            x, mean = _mean_curve(runs, name)
            axis.plot(x, mean, color=line.color, linestyle=line.style, label=f"{line.label} ({len(runs)})")
        if variant in ("gaussian", "literal", "bounded"):
            for name in ("ratio_q05", "ratio_q50", "ratio_q95"):
                axes[0].plot(*_mean_curve(runs, name), color=line.color)
    axes[0].set_title("Ratios new : old; 5, 50 and 95 %")
    for axis, (title, scale) in zip(axes[1:], _TITLES.values(), strict=True):
        axis.set_title(title)
        axis.set_yscale(scale, **({"linthresh": 0.01} if scale == "symlog" else {}))
    for axis in axes:
        axis.set_xlabel(f"environment steps of {task}")
        axis.xaxis.set_major_formatter(TICKS)
    handles, labels = axes[1].get_legend_handles_labels()
    title = "in brackets: seeds that a line is the mean of"
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title=title)
    figure.savefig(path)
    return path


def _draw_band(axis: Axes, runs: Sequence[Sequence[Mapping[str, Any]]], x_name: str, line: Line) -> None:
    if not runs:
        return
    x, values = shared_curves(runs, x_name)
    mean, width = mean_interval(values)
    axis.plot(x, mean, color=line.color, linestyle=line.style, label=line.label)
    if len(runs) > 2:  # the interval of two seeds covers the figure, and says nothing
        axis.fill_between(x, mean - width, mean + width, color=line.color, alpha=0.15, linewidth=0)


def _mean_curve(runs: Sequence[Sequence[Mapping[str, Any]]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over seeds of a statistic at each evaluation; NaN where no seed knows it."""
    length = min(len(run) for run in runs)
    points = [[run[i][name] for run in runs if run[i][name] is not None] for i in range(length)]
    means = [float(np.mean(values)) if values else np.nan for values in points]
    return np.array([run_row["env_steps"] for run_row in runs[0][:length]], np.float64), np.array(means)


def _tasks(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["task"] for row in rows if "task" in row))


def _table_line(task: str, label: str, runs: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    ends = np.array([run[-1]["episode_return"] for run in runs])
    along = np.mean([row["episode_return"] for run in runs for row in run])
    mean, width = mean_interval(ends)
    final, deviation = f"{mean:.0f}", "-"
    if len(ends) > 1:
        final, deviation = f"{mean:.0f} ± {width:.0f}", f"{ends.std(ddof=1):.0f}"
    steps = f"{np.mean([run[-1]['env_steps'] for run in runs]):,.0f}"
    numbers = (f"{value:.0f}" for value in (ends.min(), ends.max(), along))
    cells = (task, label, str(len(runs)), steps, final, deviation, *numbers)
    return f"| {' | '.join(cells)} |"


def _timing_lines(rows: Rows) -> list[str]:
    lines = [
        "| cpu time of | actions of size | milliseconds | ratio | min | max | error (nats) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row["part"] in ("likelihood", "update"):
            is_update = row["part"] == "update"
            name = f"PPO update, {LINES[row['label']].label}" if is_update else row["label"]
            error = row.get("error")
            cells = (
                name if is_update else f"log-likelihood and gradient, {name}",
                str(row.get("action_size", "")),
                f"{row['msec']:.2f}" if not is_update else f"{row['msec']:.0f}",
                *(f"{row[key]:.2f}" for key in ("ratio", "ratio_min", "ratio_max")),
                "" if error is None else f"{error:.1e}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return [
        *lines,
        "",
        "Likelihoods of a minibatch, with the gradient; ratios are to the Gaussian policy, repeats in turns, "
        "and the error is the largest difference from 512 steps of the solver.",
    ]
