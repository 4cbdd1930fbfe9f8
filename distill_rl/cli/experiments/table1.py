"""The projection alone: Table 1 and Figures 1 and 2 of Fang & Di, with other estimators and losses beside.

Four parts. `fixed` keeps one reference set a member for good and has the network of Ding & Jin, as their
Table 2 and Section 4 say. The others have the network of `ConsistencyPolicy`: `fresh` draws a new set at
every update, as a search does; `conditioned` moves the target with a state, in 2, 6 and 17 action dimensions.
The last part compares the estimates themselves with the exact posterior mean.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.progress import Progress

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row
from distill_rl.cli.experiments.jobs import run_jobs
from distill_rl.cli.experiments.laboratory import EstimatorSpec, LossSpec, run_job
from distill_rl.cli.experiments.table1_figures import draw_figures
from distill_rl.cli.experiments.table1_tables import write_tables
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


TABLE1 = Experiment(
    title="Distilling reference sets: estimators and losses",
    run=_run,
    table=write_tables,
    draw=draw_figures,
)
