"""Jobs of the laboratory: one loss on every instance and seed, or one estimator."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.machine import describe_machine, num_available_cores
from learners.config import DistillationConfig
from learners.laboratory.estimator_errors import estimator_errors
from learners.laboratory.evaluation import (
    EvaluationSize,
    evaluate_likelihood,
    evaluate_samples,
    generate_samples,
    one_step_samples,
)
from learners.laboratory.experiment import Experiment, ReferenceSource
from learners.laboratory.mixtures import random_mixtures
from learners.laboratory.trainer import LaboratoryTrainer

AdvanceFn = Callable[[float], None]

_GRID_POINTS = 50
_SHOWN_SAMPLES = 300


@dataclasses.dataclass(frozen=True)
class LossSpec:
    """What to train and how to judge it.

    Attributes:
      method: name of the loss.
      distillation: fields of `DistillationConfig`.
      experiment: fields of `Experiment`.
      evaluation: fields of `EvaluationSize`.
      num_updates: gradient steps.
      num_evaluations: evenly over them, the last one at the end.
      with_likelihood: whether log-densities are judged; they need a denoiser, and targets without a state.
    """

    method: str
    distillation: Mapping[str, Any]
    experiment: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    num_updates: int
    num_evaluations: int
    with_likelihood: bool


@dataclasses.dataclass(frozen=True)
class EstimatorSpec:
    """An estimator to compare with the exact posterior mean.

    Attributes:
      estimator: its name.
      num_sets: reference sets to average over.
      num_instances: targets.
      num_points: noisy actions of each.
      sigmas: noise levels.
      num_candidates: sizes of the sets.
      seed: of everything.
    """

    estimator: str
    num_sets: int
    num_instances: int = 4
    num_points: int = 64
    sigmas: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.5)
    num_candidates: Sequence[int] = (16, 256)
    seed: int = 0


def run_estimator(spec: EstimatorSpec) -> list[Row]:
    """Measures bias and variance of an estimator.

    Args:
      spec: what to measure.

    Returns:
      One row for each noise level and size of the set, averaged over targets.
    """
    targets = random_mixtures(
        [2 + index % 2 for index in range(spec.num_instances)],
        2,
        torch.Generator().manual_seed(spec.seed),
    )
    rows: list[Row] = []
    for num_candidates in spec.num_candidates:
        for sigma in spec.sigmas:
            errors = estimator_errors(
                spec.estimator,
                targets,
                sigma=sigma,
                num_candidates=num_candidates,
                num_points=spec.num_points,
                num_sets=spec.num_sets,
                generator=torch.Generator().manual_seed(spec.seed + 1),
            )
            values = {name: float(value.mean()) for name, value in errors._asdict().items()}
            row = {"estimator": spec.estimator, "sigma": sigma, "num_candidates": num_candidates}
            rows.append(row | values)
    return rows


def run_loss(spec: LossSpec, advance_fn: AdvanceFn) -> list[Row]:
    """Trains a loss on every instance and seed at once.

    Args:
      spec: what to train.
      advance_fn: takes the share of the updates that are done, 0 to 1.

    Returns:
      One row for each evaluation of each member.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(num_available_cores())
    experiment, size = Experiment(**spec.experiment), EvaluationSize(**spec.evaluation)
    config = DistillationConfig(**spec.distillation, num_noises=experiment.num_noises)
    trainer = LaboratoryTrainer(experiment, config, device, is_compiled=device == "cuda")
    rows: list[Row] = []
    for evaluation in range(1, spec.num_evaluations + 1):
        while trainer.num_updates < spec.num_updates * evaluation // spec.num_evaluations:
            trainer.update()
            advance_fn(trainer.num_updates / spec.num_updates)
        # The same draws at every evaluation: curves then differ by what was learned only.
        generator = torch.Generator(device).manual_seed(experiment.seed + 3)
        values = evaluate_samples(trainer.average, trainer.source, size, generator)
        if spec.with_likelihood:
            values |= evaluate_likelihood(trainer.average, trainer.source, size, generator)
        by_name = {name: value.tolist() for name, value in values.items()}
        pictures: list[Row] = [{}] * experiment.num_members
        is_last = evaluation == spec.num_evaluations
        if is_last and experiment.data != "conditioned" and experiment.action_size == 2:
            draw = generate_samples if spec.with_likelihood else one_step_samples
            samples = draw(trainer.average, trainer.source, size, generator)
            pictures = _pictures(trainer.source, samples, generator)
        for member in range(experiment.num_members):
            # Beside the numbers, what the densities of the first seed look like.
            is_shown = member % experiment.num_seeds == 0
            rows.append(
                {
                    "method": spec.method,
                    "data": experiment.data,
                    "action_size": experiment.action_size,
                    "instance": member // experiment.num_seeds,
                    "seed": member % experiment.num_seeds,
                    "update": trainer.num_updates,
                    **{name: value[member] for name, value in by_name.items()},
                    **(pictures[member] if is_shown else {}),
                }
            )
    machine = describe_machine()
    return [{**row, "machine": machine} for row in rows]


def _pictures(source: ReferenceSource, samples: Tensor, generator: torch.Generator) -> list[Row]:
    """Returns for each member what a figure of its density needs."""
    targets, batch = source.draw(generator)
    axis = (torch.arange(_GRID_POINTS, device=samples.device) + 0.5) / _GRID_POINTS
    grid = torch.cartesian_prod(axis, axis).expand(len(samples), -1, -1)
    log_density = targets.log_prob(grid).unflatten(1, (_GRID_POINTS, _GRID_POINTS))
    arrays = {
        "log_density": log_density,
        "target_samples": targets.sample(_SHOWN_SAMPLES, generator),
        "samples": samples[:, :_SHOWN_SAMPLES],
        "reference_actions": batch.actions,
    }
    rounded = {name: array.cpu().double().numpy().round(3).tolist() for name, array in arrays.items()}
    return [{name: values[member] for name, values in rounded.items()} for member in range(len(samples))]


def run_job(spec: Mapping[str, Any], folder: Path, advance_fn: AdvanceFn) -> None:
    """Runs a job and leaves its rows in a folder.

    Args:
      spec: `kind` (`loss` or `estimator`) and the fields of `LossSpec` or `EstimatorSpec`.
      folder: of the job.
      advance_fn: takes the share of the job that is done, 0 to 1.
    """
    fields = {name: value for name, value in spec.items() if name != "kind"}
    if spec["kind"] == "estimator":
        rows = run_estimator(EstimatorSpec(**fields))
    else:
        rows = run_loss(LossSpec(**fields), advance_fn)
    save_result(folder, spec, rows)
