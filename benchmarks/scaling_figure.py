"""The figure of `scaling_model.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(checks: Sequence[dict[str, Any]], curves: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the check, the throughput and the lag.

    Args:
      checks: rows of real runs beside the model.
      curves: rows of the model.
      path: of the PNG.
    """
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), constrained_layout=True)
    _draw_check(axes[0, 0], checks)
    default = curves[0]["operator"]
    of_default = [row for row in curves if row["operator"] == default]
    of_one_learner = [row for row in curves if row["setting"] == "one learner"]
    _draw_lines(axes[0, 1], of_one_learner, "operator", "sets_per_sec")
    axes[0, 1].set(title="One learner: throughput by operator", ylabel="reference sets per second")
    _draw_lines(axes[1, 0], of_default, "setting", "sets_per_sec")
    axes[1, 0].set(title=f"{default}: where throughput bends", ylabel="reference sets per second")
    _draw_lines(axes[1, 1], of_default, "setting", "lag_updates")
    axes[1, 1].set(title=f"{default}: how old sets arrive", ylabel="policy lag (updates)")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_check(axis: Any, checks: Sequence[dict[str, Any]]) -> None:
    places = range(len(checks))
    axis.bar([p - 0.2 for p in places], [row["real_sets_per_sec"] for row in checks], 0.4, label="real run")
    axis.bar([p + 0.2 for p in places], [row["sets_per_sec"] for row in checks], 0.4, label="model")
    axis.set_xticks(list(places), [f"{row['num_actors']} ({row['num_cores']:.1f} cores)" for row in checks])
    axis.set(title="The model against real runs", xlabel="env runners", ylabel="reference sets per second")
    axis.legend()


def _draw_lines(axis: Any, rows: Sequence[dict[str, Any]], key: str, value: str) -> None:
    for name in dict.fromkeys(row[key] for row in rows):
        own = [row for row in rows if row[key] == name and row[value] > 0.0]
        axis.plot([row["num_actors"] for row in own], [row[value] for row in own], marker=".", label=name)
    axis.set(xscale="log", yscale="log", xlabel="actors")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
