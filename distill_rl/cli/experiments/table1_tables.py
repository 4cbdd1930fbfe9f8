"""The tables of the laboratory, in Markdown."""

from collections.abc import Mapping

import numpy as np

from distill_rl.cli.experiments.base import Rows

LIKELIHOOD_COLUMNS = {
    "log_prob_mse": "LogP MSE",
    "log_prob_mae_difference": "LogP MAE difference",
    "score_mae": "score MAE",
    "fresh_log_prob_mse": "LogP MSE, fresh actions",
    "kl": "KL(p*, model)",
}
"""What log-densities are judged by: heading of each column."""
_PAPER_RATIOS = {"log_prob_mse": 0.874, "log_prob_mae_difference": 0.043, "score_mae": 0.740}
"""Importance over original, as published."""


def write_tables(rows: Rows) -> str:
    """Writes what each loss has reached at the end: mean and standard deviation over instances and seeds.

    Args:
      rows: of the experiment.

    Returns:
      Markdown: log-densities of denoisers, quality of one-step samples, and errors of the estimators.
    """
    trained = [row for row in rows if "method" in row]
    last: dict[tuple[str, int], int] = {}
    for row in trained:
        key = (row["data"], row["action_size"])
        last[key] = max(last.get(key, 0), row["update"])
    ends = [row for row in trained if row["update"] == last[(row["data"], row["action_size"])]]
    parts = []
    titles = {"fixed": "One reference set for good", "fresh": "A fresh reference set at every update"}
    for data, title in titles.items():
        own = [row for row in ends if row["data"] == data]
        denoisers = [row for row in own if "kl" in row]
        parts.append(
            f"## {title}: log-densities of denoisers\n\n{_rows_table(denoisers, LIKELIHOOD_COLUMNS)}"
        )
        if data == "fixed":
            parts.append(_ratios(denoisers))
        one_step = [row for row in own if "kl" not in row]
        parts.append(f"## {title}: one-step samples\n\n{_sample_table(one_step)}")
    for action_size in sorted({row["action_size"] for row in ends if row["data"] == "conditioned"}):
        own = [r for r in ends if r["data"] == "conditioned" and r["action_size"] == action_size]
        parts.append(
            f"## Target that moves with a state, {action_size} action dimensions: one-step samples\n\n"
            f"{_sample_table(own)}"
        )
    parts.append(f"## Estimators: squared error of the posterior mean\n\n{_estimator_table(rows)}")
    return "\n\n".join(parts)


def _values(rows: Rows, method: str, column: str) -> np.ndarray:
    return np.array([row[column] for row in rows if row["method"] == method], np.float64)


def _methods(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _rows_table(rows: Rows, columns: Mapping[str, str]) -> str:
    lines = [f"| loss | {' | '.join(columns.values())} |", f"| --- |{' --- |' * len(columns)}"]
    for method in _methods(rows):
        cells = [_mean_and_spread(_values(rows, method, column)) for column in columns]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _sample_table(rows: Rows) -> str:
    """As above, with the floor of exact samples, and the ratio to consistency training."""
    lines = [
        "| loss | energy distance | over CT's | over the floor | squared MMD |",
        "| --- | --- | --- | --- | --- |",
    ]
    floors = {name: np.mean([row[f"{name}_floor"] for row in rows]) for name in ("energy_distance", "mmd")}
    base = _values(rows, "CT", "energy_distance").mean()
    for method in _methods(rows):
        distance = _values(rows, method, "energy_distance")
        cells = [
            _mean_and_spread(distance),
            f"{distance.mean() / base:.3f}",
            f"{distance.mean() / floors['energy_distance']:.1f}",
            _mean_and_spread(_values(rows, method, "mmd")),
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines.append(f"| exact samples | {floors['energy_distance']:.3g} | | 1 | {floors['mmd']:.3g} |")
    return "\n".join(lines)


def _ratios(rows: Rows) -> str:
    parts = []
    for column, of_paper in _PAPER_RATIOS.items():
        ratio = _values(rows, "importance", column).mean() / _values(rows, "original", column).mean()
        parts.append(f"{LIKELIHOOD_COLUMNS[column]} {ratio:.3f} (paper {of_paper})")
    return f"Importance over original: {', '.join(parts)}."


def _estimator_table(rows: Rows) -> str:
    own = [row for row in rows if "estimator" in row]
    sigmas = sorted({row["sigma"] for row in own})
    lines = [
        f"| estimator | n | {' | '.join(f'sigma {sigma:g}' for sigma in sigmas)} |",
        f"| --- | --- |{' --- |' * len(sigmas)}",
    ]
    for count in sorted({row["num_candidates"] for row in own}):
        for name in dict.fromkeys(row["estimator"] for row in own):
            chosen = {r["sigma"]: r for r in own if (r["estimator"], r["num_candidates"]) == (name, count)}
            cells = [f"{chosen[s]['squared_bias'] + chosen[s]['variance']:.2g}" for s in sigmas]
            lines.append(f"| {name} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_and_spread(values: np.ndarray) -> str:
    return f"{values.mean():.3g} ± {values.std():.2g}"
