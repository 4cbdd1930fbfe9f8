"""The projection alone: Table 1 and Figures 1 and 2 of Fang & Di, with other estimators and losses beside.

Four parts. `fixed` keeps one reference set a member for good and has the network of Ding & Jin, as their
Table 2 and Section 4 say. The others have the network of `ConsistencyPolicy`: `fresh` draws a new set at
every update, as a search does; `conditioned` moves the target with a state, in 2, 6 and 17 action dimensions.
The last part compares the estimates themselves with the exact posterior mean.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row, Rows
from distill_rl.cli.experiments.jobs import run_jobs
from distill_rl.cli.experiments.laboratory import EstimatorSpec, LossSpec, run_job
from distill_rl.cli.experiments.table1_figures import draw_figures
from learners.laboratory.methods import METHODS

_DENOISING = (
    "original",
    "gumbel",
    "importance",
    "corrected",
    "stein",
    "defensive mixture",
    "control variate",
)
_FIXED = (*_DENOISING, "CT", "CT, importance", "endpoint", "energy")
_CONDITIONED = (
    "CT",
    "iCT",
    "ECT",
    "CT, importance",
    "CT, corrected, Heun",
    "endpoint",
    "energy",
)
_ESTIMATORS = (
    "single_sample",
    "importance",
    "proposal_corrected",
    "stein",
    "defensive_mixture",
    "control_variate",
)


@dataclasses.dataclass(frozen=True)
class _Scale:
    """How large the experiment is."""

    num_instances: int
    num_seeds: int
    num_updates: int
    learning_rate: float
    num_evaluations: int
    conditioned_sizes: tuple[int, ...]
    conditioned_updates: int
    methods: tuple[str, ...]
    estimator_sets: int
    evaluation: Mapping[str, int]


_SCALES = {
    "tiny": _Scale(
        num_instances=2,
        num_seeds=1,
        num_updates=4,
        learning_rate=1e-3,
        num_evaluations=2,
        conditioned_sizes=(2,),
        conditioned_updates=2,
        methods=("original", "importance", "CT", "endpoint"),
        estimator_sets=4,
        evaluation={
            "num_samples": 50,
            "num_points": 8,
            "num_states": 2,
            "num_likelihood_steps": 4,
            "num_sampling_levels": 4,
        },
    ),
    "small": _Scale(
        num_instances=2,
        num_seeds=2,
        num_updates=1_200,
        learning_rate=1e-3,
        num_evaluations=3,
        conditioned_sizes=(2, 6, 17),
        conditioned_updates=800,
        methods=tuple(METHODS),
        estimator_sets=100,
        evaluation={"num_samples": 1_000, "num_points": 64, "num_likelihood_steps": 32},
    ),
    "full": _Scale(
        num_instances=5,
        num_seeds=5,
        num_updates=100_000,
        learning_rate=1e-4,
        num_evaluations=20,
        conditioned_sizes=(2, 6, 17),
        conditioned_updates=100_000,
        methods=tuple(METHODS),
        estimator_sets=400,
        evaluation={},
    ),
}


def table1_specs(scale: str) -> dict[str, dict[str, Any]]:
    """Returns the jobs of a scale, by name.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    specs: dict[str, dict[str, Any]] = {}

    def add(data: str, method: str, action_size: int, num_updates: int, num_evaluations: int) -> None:
        name = f"{data}_{action_size}_{method.replace(', ', '_').replace(' ', '_')}"
        spec = LossSpec(
            method=method,
            distillation=METHODS[method]
            | {
                "learning_rate": size.learning_rate,
                "ema_decay": 0.995,
                "zero_noise_fraction": 0.0,
                "schedule_updates": num_updates,
            },
            experiment={
                "data": data,
                "network": "ding_jin" if data == "fixed" else "policy",
                "action_size": action_size,
                "num_instances": size.num_instances,
                "num_seeds": size.num_seeds,
            },
            evaluation=size.evaluation,
            num_updates=num_updates,
            num_evaluations=num_evaluations,
            with_likelihood=method in _DENOISING and data != "conditioned",
        )
        specs[name] = {"kind": "loss"} | dataclasses.asdict(spec)

    for method in size.methods:
        if method in _FIXED:
            add("fixed", method, 2, size.num_updates, size.num_evaluations)
    for method in size.methods:
        add("fresh", method, 2, size.num_updates, size.num_evaluations)
    for action_size in size.conditioned_sizes:
        for method in _CONDITIONED:
            if method in size.methods:
                add("conditioned", method, action_size, size.conditioned_updates, 1)
    for posterior in _ESTIMATORS:
        estimator = EstimatorSpec(posterior, num_sets=size.estimator_sets)
        specs[f"estimator_{posterior}"] = {"kind": "estimator"} | dataclasses.asdict(estimator)
    return specs


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    with Progress(transient=True) as progress:
        task = progress.add_task("", total=1.0)

        def run(spec: Mapping[str, Any], job_folder: Path) -> None:
            progress.reset(task, description=job_folder.name)
            run_job(spec, job_folder, lambda share: progress.update(task, completed=share))

        return run_jobs(run, table1_specs(scale), folder, note_fn)


_LIKELIHOOD_COLUMNS = {
    "log_prob_mse": "LogP MSE",
    "log_prob_mae_difference": "LogP MAE difference",
    "score_mae": "score MAE",
    "fresh_log_prob_mse": "LogP MSE, fresh actions",
    "kl": "KL(p*, model)",
}


def _table(rows: Rows) -> str:
    """Writes what each loss has reached at the end: mean and standard deviation over instances and seeds."""
    trained = [row for row in rows if "method" in row]
    last = {(r["data"], r["action_size"]): 0 for r in trained}
    for row in trained:
        key = (row["data"], row["action_size"])
        last[key] = max(last[key], row["update"])
    ends = [row for row in trained if row["update"] == last[(row["data"], row["action_size"])]]
    parts = []
    titles = {"fixed": "One reference set for good", "fresh": "A fresh reference set at every update"}
    for data, title in titles.items():
        own = [row for row in ends if row["data"] == data]
        denoisers = [row for row in own if "kl" in row]
        parts.append(
            f"## {title}: log-densities of denoisers\n\n{_rows_table(denoisers, _LIKELIHOOD_COLUMNS)}"
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


def _values(rows: Sequence[Mapping[str, Any]], method: str, column: str) -> np.ndarray:
    return np.array([row[column] for row in rows if row["method"] == method], np.float64)


def _methods(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _rows_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    lines = [f"| loss | {' | '.join(columns.values())} |", f"| --- |{' --- |' * len(columns)}"]
    for method in _methods(rows):
        cells = [_mean_and_spread(_values(rows, method, column)) for column in columns]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _sample_table(rows: Sequence[Mapping[str, Any]]) -> str:
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


_PAPER_RATIOS = {"log_prob_mse": 0.874, "log_prob_mae_difference": 0.043, "score_mae": 0.740}


def _ratios(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for column, of_paper in _PAPER_RATIOS.items():
        ratio = _values(rows, "importance", column).mean() / _values(rows, "original", column).mean()
        parts.append(f"{_LIKELIHOOD_COLUMNS[column]} {ratio:.3f} (paper {of_paper})")
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


TABLE1 = Experiment(
    title="Distilling reference sets: estimators and losses",
    run=_run,
    table=_table,
    draw=draw_figures,
)
