"""Figures of the laboratory: densities, learning curves, estimators and one-step quality."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from distill_rl.cli.experiments.base import Rows
from distill_rl.cli.plots import STYLE, TICKS

_COLORS = {
    "original": "#8a8f98",
    "gumbel": "#d9730d",
    "importance": "#0f8a5f",
    "corrected": "#1f6fd6",
    "CT": "#8a8f98",
    "iCT": "#7a4fb5",
    "ECT": "#b5446e",
    "CT, importance": "#0f8a5f",
    "CT, corrected, Heun": "#d9730d",
    "endpoint, importance": "#58b594",
    "endpoint": "#1f6fd6",
    "endpoint, stein": "#0b3d91",
    "energy": "#1c2733",
    "single_sample": "#8a8f98",
    "proposal_corrected": "#1f6fd6",
    "stein": "#7a4fb5",
    "defensive_mixture": "#d9730d",
    "control_variate": "#b5446e",
}
_DENSITY_METHODS = ("original", "gumbel", "importance", "CT", "endpoint")
_CURVE_METHODS = ("original", "gumbel", "importance", "corrected")
_ONE_STEP_METHODS = (
    "CT",
    "iCT",
    "ECT",
    "CT, importance",
    "CT, corrected, Heun",
    "endpoint, importance",
    "endpoint",
    "endpoint, stein",
    "energy",
)


def draw_figures(rows: Rows, folder: Path) -> list[Path]:
    """Draws what the rows have data for.

    Args:
      rows: of the experiment.
      folder: where the PNG files go.

    Returns:
      `figure1.png` (samples of target and learned distributions), `figure2.png` (errors of log-densities over
      updates), `estimators.png` (bias and variance) and `one_step.png` (energy distance over updates).
    """
    figures = {
        "figure1": _densities,
        "figure2": _likelihood_curves,
        "estimators": _estimators,
        "one_step": _one_step_curves,
    }
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, draw in figures.items():
            paths.append(folder / f"{name}.png")
            draw(rows).savefig(paths[-1])
    return paths


def _densities(rows: Rows) -> Figure:
    """One row of panels an instance: the target's log-density and samples of each learned distribution."""
    shown = [row for row in rows if "samples" in row and row["data"] == "fixed"]
    instances = sorted({row["instance"] for row in shown})
    methods = [name for name in _DENSITY_METHODS if any(row["method"] == name for row in shown)]
    size = (2.1 * (len(methods) + 1), 2.3 * len(instances))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(instances), len(methods) + 1, sharex=True, sharey=True, squeeze=False)
    for line, instance in zip(axes, instances, strict=True):
        own = {row["method"]: row for row in shown if row["instance"] == instance}
        first = own[methods[0]]
        line[0].scatter(*np.array(first["reference_actions"]).T, s=9, color="#d9730d", zorder=3)
        line[0].set_ylabel(f"instance {instance + 1}")
        for axis, points in zip(line, [first["target_samples"], *(own[m]["samples"] for m in methods)]):
            _draw_density(axis, np.array(first["log_density"]))
            axis.scatter(*np.array(points).T, s=2, color="#1c2733", alpha=0.5, linewidth=0)
    for axis, title in zip(axes[0], ["target", *methods], strict=True):
        axis.set_title(title)
    return figure


def _draw_density(axis: Axes, log_density: np.ndarray) -> None:
    top = log_density.max()
    axis.imshow(
        log_density.T,
        origin="lower",
        extent=(0.0, 1.0, 0.0, 1.0),
        cmap="Blues",
        vmin=top - 8.0,
        vmax=top + 2.0,
        aspect="equal",
    )
    axis.grid(False)
    axis.set_xticks([0.0, 0.5, 1.0])
    axis.set_yticks([0.0, 0.5, 1.0])


def _likelihood_curves(rows: Rows) -> Figure:
    """The paper's two panels, and the error at fresh actions."""
    panels = {
        "log_prob_mse": "LogP MSE",
        "log_prob_mae_difference": "LogP MAE difference",
        "fresh_log_prob_mse": "LogP MSE at fresh actions",
    }
    figure = Figure(figsize=(12.5, 3.9), layout="constrained")
    axes = figure.subplots(1, len(panels))
    own = [row for row in rows if row.get("data") == "fixed" and "kl" in row]
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        _draw_curves(axis, own, _CURVE_METHODS, column)
        axis.set_title(title)
        axis.set_xlabel("updates")
        axis.set_yscale("log")
    axes[0].legend()
    return figure


def _one_step_curves(rows: Rows) -> Figure:
    """Energy distance over updates, with a fixed set and with fresh ones."""
    titles = {"fixed": "One reference set for good", "fresh": "Fresh sets"}
    figure = Figure(figsize=(11.0, 4.2), layout="constrained")
    axes = figure.subplots(1, len(titles), sharey=True)
    for axis, (data, title) in zip(axes, titles.items(), strict=True):
        own = [row for row in rows if row.get("data") == data]
        _draw_curves(axis, own, _ONE_STEP_METHODS, "energy_distance")
        floor = np.mean([row["energy_distance_floor"] for row in own])
        axis.axhline(floor, color="#1c2733", linestyle="--", linewidth=1.2, label="exact samples")
        axis.set_title(title)
        axis.set_xlabel("updates")
        axis.set_yscale("log")
    axes[0].set_ylabel("energy distance of one-step samples")
    # Each panel has other losses.
    lines = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(list(lines.values()), list(lines), loc="outside right center")
    return figure


def _draw_curves(axis: Axes, rows: Sequence[Mapping[str, Any]], methods: Sequence[str], column: str) -> None:
    """Draws means over instances and seeds; the band is one standard error."""
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        updates = sorted({row["update"] for row in own})
        values = [np.array([row[column] for row in own if row["update"] == update]) for update in updates]
        mean = np.array([value.mean() for value in values])
        error = np.array([value.std() / np.sqrt(len(value)) for value in values])
        axis.plot(updates, mean, color=_COLORS[method], label=method)
        low = np.maximum(mean - error, 0.5 * mean)
        axis.fill_between(updates, low, mean + error, color=_COLORS[method], alpha=0.15, linewidth=0)
    axis.xaxis.set_major_formatter(TICKS)


def _estimators(rows: Rows) -> Figure:
    """Squared bias and variance over the noise level, for each size of the set."""
    own = [row for row in rows if "estimator" in row]
    counts = sorted({row["num_candidates"] for row in own})
    panels = {"squared_bias": "squared bias", "variance": "variance"}
    figure = Figure(figsize=(4.2 * len(counts) + 1.6, 6.6), layout="constrained")
    axes = figure.subplots(len(panels), len(counts), sharex=True, sharey="row", squeeze=False)
    for line, (column, label) in zip(axes, panels.items(), strict=True):
        line[0].set_ylabel(label)
        for axis, count in zip(line, counts, strict=True):
            for name in dict.fromkeys(row["estimator"] for row in own):
                chosen = [r for r in own if (r["estimator"], r["num_candidates"]) == (name, count)]
                chosen.sort(key=lambda row: row["sigma"])
                # What is below zero is the noise of the measurement.
                y = np.maximum([row[column] for row in chosen], 1e-7)
                axis.plot([row["sigma"] for row in chosen], y, color=_COLORS[name], label=name, marker=".")
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xticks(sorted({row["sigma"] for row in own}))
            axis.xaxis.set_major_formatter(TICKS)
            axis.xaxis.set_minor_formatter(NullFormatter())
    for axis, count in zip(axes[0], counts, strict=True):
        axis.set_title(f"{count} candidates")
    for axis in axes[-1]:
        axis.set_xlabel("noise level sigma")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right center")
    return figure
