"""Offline learning with consistency and diffusion policies, the experiments of Ding & Jin (2024).

The methods beside each other, ablations (denoising steps, loss scaling, networks), and from the same runs the
time of training and of acting. Scores are on D4RL's scale. `small` learns from our own datasets, whose scores
cannot be compared with those of papers; `full` from D4RL's, with the published settings.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill_rl.algorithms.offline_config import OFFLINE_METHODS
from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row
from distill_rl.cli.experiments.consistency_rl_results import draw_results, write_table
from distill_rl.cli.experiments.jobs import check_datasets, in_subprocess, run_jobs
from distill_rl.cli.experiments.offline_run import run_here
from distill_rl.cli.experiments.offline_spec import CONTEXT_STEPS, OfflineSpec
from distill_rl.cli.experiments.tasks import preset_of
from distill_rl.cli.presets import load_preset
from learners.offline.config import LearningConfig

LABELS = {
    "gaussian_bc": "BC",
    "consistency_bc": "Consistency-BC",
    "diffusion_bc": "Diffusion-BC",
    "consistency_ac": "Consistency-AC",
    "diffusion_ql": "Diffusion-QL",
    "critic_distill": "CriticDistill (ours)",
}
OTHER_ACTING = {
    "critic_distill": {"CriticDistill (ours), one of 50": {"num_action_candidates": 50, "noise_scale": 1.0}}
}
"""What is judged in more than one way: ours also by the rule that the published methods act by."""
BASELINES = {
    "rllib-bc": "BC (RLlib)",
    "rllib-cql": "CQL (RLlib)",
    "rllib-iql": "IQL (RLlib)",
    "d3rlpy-decision_transformer": "Decision Transformer (d3rlpy)",
}
"""Those of other libraries: library and method."""
_JOB_MODULE = "distill_rl.cli.experiments.offline_run"
_GYM_TASKS = tuple(
    f"{robot}_{kind}"
    for robot in ("half_cheetah", "hopper", "walker2d")
    for kind in ("medium", "medium_replay", "medium_expert")
)
_WALKER2D_UPDATES = 20_000  # of the scale `small`
_SEQUENCES = 64  # of a batch, as published for the Decision Transformer


@dataclasses.dataclass(frozen=True)
class _Scale:
    """How large the experiment is.

    Attributes:
      tasks: to learn.
      num_seeds: of each method.
      max_updates: by task; those of its preset where there are none.
      num_evaluations: along each run.
      num_episodes: of each evaluation.
      learning: fields of `LearningConfig` that differ from those of the presets.
      task_learning: the same, by task or by task and algorithm, `task-algorithm`.
      has_own_data: whether the datasets are our own.
      steps: numbers of denoising steps that are compared.
      num_ablation_seeds: of each ablation.
      num_baseline_seeds: of other libraries.
      sequence_learning_rate: of the Decision Transformer.
    """

    tasks: tuple[str, ...]
    num_seeds: int
    max_updates: Mapping[str, int]
    num_evaluations: int
    num_episodes: int
    learning: Mapping[str, Any]
    task_learning: Mapping[str, Mapping[str, Any]]
    has_own_data: bool
    steps: tuple[int, ...]
    num_ablation_seeds: int
    num_baseline_seeds: int
    sequence_learning_rate: float


# Of the published updates a hundred-and-seventieth part, hence larger steps, and averages that forget in 20
# updates: values rise through the averaged critic with a time constant of its memory / (1 - discount), and
# consistency training bootstraps from the averaged policy through every noise level.
_SMALL_LEARNING = {
    "hidden_sizes": [128, 128],
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "ema_decay": 0.95,
    "ema_interval_updates": 1,
    "ema_start_updates": 1,
    "critic_ema_decay": 0.95,
}
_SCALES = {
    "tiny": _Scale(
        tasks=("hopper_medium_replay",),
        num_seeds=1,
        max_updates={"hopper_medium_replay": 4},
        num_evaluations=2,
        num_episodes=1,
        learning={"hidden_sizes": [8], "batch_size": 8, "num_reference_states": 2},
        task_learning={},
        has_own_data=True,
        steps=(2,),
        num_ablation_seeds=1,
        num_baseline_seeds=0,  # a library takes longer to start than the rest of this scale
        sequence_learning_rate=1e-3,
    ),
    "small": _Scale(
        # The training on Walker2d comes to a third of its best so early that its medium-replay data are few.
        tasks=("hopper_medium_replay", "walker2d_full_replay"),
        num_seeds=3,
        max_updates={"hopper_medium_replay": 12_000, "walker2d_full_replay": _WALKER2D_UPDATES},
        num_evaluations=4,
        num_episodes=10,
        learning=_SMALL_LEARNING,
        # Policies stray there from one evaluation to the next.
        task_learning={
            "walker2d_full_replay": {"ema_decay": 0.995, "learning_rate_decay_updates": _WALKER2D_UPDATES},
            "walker2d_full_replay-diffusion_ql": {"q_weight": 0.5},
            "walker2d_full_replay-critic_distill": {"ascent_distance": 1.0, "num_critics": 5},
        },
        has_own_data=True,
        steps=(2, 5, 10),
        num_ablation_seeds=1,
        num_baseline_seeds=1,  # their updates are dear, see docs/offline.md
        sequence_learning_rate=1e-3,
    ),
    "full": _Scale(
        tasks=_GYM_TASKS,
        num_seeds=3,
        max_updates={},  # those of the presets
        num_evaluations=40,
        num_episodes=10,
        learning={},
        task_learning={},
        has_own_data=False,
        steps=(2, 5, 10, 20),
        num_ablation_seeds=3,
        num_baseline_seeds=3,
        sequence_learning_rate=1e-4,
    ),
}


def offline_specs(scale: str) -> dict[str, OfflineSpec]:
    """Returns the runs of a scale, by name.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    specs: dict[str, OfflineSpec] = {}
    # Seeds outermost: an interrupted experiment compares all methods on the seeds it has.
    for seed in range(size.num_seeds):
        for task in size.tasks:
            for algorithm, label in LABELS.items():
                specs[f"{task}-{algorithm}-seed{seed}"] = _spec(size, "methods", label, task, algorithm, seed)
    for seed in range(size.num_ablation_seeds):
        for name, (label, algorithm, options) in _ablations(size).items():
            spec = _spec(size, "ablations", label, size.tasks[0], algorithm, seed, options)
            specs[f"ablation-{name}-seed{seed}"] = spec
    for seed in range(size.num_baseline_seeds):
        for task in size.tasks:
            for name in BASELINES:
                specs[f"{task}-{name}-seed{seed}"] = _baseline_spec(size, name, task, seed)
    return specs


def _ablations(size: _Scale) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Returns label, algorithm and options of each ablation, by name."""
    ablations: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for steps in size.steps:
        for algorithm in ("consistency_ac", "diffusion_ql"):
            label = f"{LABELS[algorithm]}, {steps} steps"
            ablations[f"{algorithm}-steps{steps}"] = (label, algorithm, {"num_sampling_steps": steps})
    for algorithm in ("consistency_bc", "consistency_ac"):
        name = LABELS[algorithm]
        ablations[f"{algorithm}-unscaled"] = (f"{name}, no loss scaling", algorithm, {"loss_scale": None})
    ablations["consistency_bc-restarts"] = (
        f"{LABELS['consistency_bc']}, curriculum restarts",
        "consistency_bc",
        {
            "has_curriculum_restarts": True,
            "curriculum_updates": max(1, size.max_updates.get(size.tasks[0], 2_000_000) // 40),
        },
    )
    for algorithm in ("consistency_bc", "diffusion_bc"):
        name = LABELS[algorithm]
        ablations[f"{algorithm}-ln_resnet"] = (f"{name}, LN-ResNet", algorithm, {"backbone": "ln_resnet"})
    return ablations


def _spec(
    size: _Scale,
    part: str,
    label: str,
    task: str,
    algorithm: str,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> OfflineSpec:
    sections = load_preset(preset_of(task), overrides=[f"run.algorithm={algorithm}"])
    max_updates = size.max_updates.get(task, sections["run"]["max_updates"])
    learning = {
        **OFFLINE_METHODS[algorithm].method_options,
        **sections["learning"],
        "curriculum_updates": max_updates,
        **size.learning,
        **size.task_learning.get(task, {}),
        **size.task_learning.get(f"{task}-{algorithm}", {}),
        **(options or {}),
    }
    dataset = sections["dataset"]["name"]
    return OfflineSpec(
        part=part,
        label=label,
        task=task,
        env=sections["environment"]["env"],
        dataset=f"own-{task.replace('_', '-')}" if size.has_own_data else dataset,
        seed=seed,
        max_updates=max_updates,
        evaluation_updates=max_updates // size.num_evaluations,
        num_episodes=size.num_episodes,
        learning=learning,
        other_acting=OTHER_ACTING.get(algorithm, {}),
    )


def _baseline_spec(size: _Scale, name: str, task: str, seed: int) -> OfflineSpec:
    """Returns the specification of what another library trains, in place of our cloning of the data."""
    library, _, method = name.partition("-")
    spec = _spec(size, "baselines", BASELINES[name], task, "gaussian_bc", seed)
    shared = dataclasses.asdict(LearningConfig(**spec.learning))
    names = ("hidden_sizes", "batch_size", "learning_rate", "critic_learning_rate", "critic_ema_decay")
    learning = {key: shared[key] for key in (*names, "discount")}
    if library == "d3rlpy":
        # As many steps drawn as by the others, in sequences.
        factor = _SEQUENCES * CONTEXT_STEPS // learning["batch_size"]
        spec = dataclasses.replace(
            spec,
            max_updates=spec.max_updates // factor,
            evaluation_updates=spec.evaluation_updates // factor,
        )
        learning = {"batch_size": _SEQUENCES, "learning_rate": size.sequence_learning_rate}
    return dataclasses.replace(spec, learning=learning, library=library, method=method)


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    specs = {name: dataclasses.asdict(spec) for name, spec in offline_specs(scale).items()}
    if importlib.util.find_spec("d3rlpy") is None:
        left_out = [name for name, spec in specs.items() if spec["library"] == "d3rlpy"]
        specs = {name: spec for name, spec in specs.items() if name not in left_out}
        if left_out:
            note_fn(f"d3rlpy is not installed (`make setup-bench`); without it: {', '.join(left_out)}")
    check_datasets(specs, folder)
    if scale == "tiny":  # a process takes longer to start than such a run
        return run_jobs(run_here, specs, folder, note_fn)
    return run_jobs(in_subprocess(_JOB_MODULE), specs, folder, note_fn, num_parallel=2)


CONSISTENCY_RL = Experiment(
    title="Offline learning with consistency and diffusion policies",
    run=_run,
    table=write_table,
    draw=draw_results,
)
