"""PPO with a consistency policy: Fang & Di's form, a bounded one, and RLlib's own Gaussian policy.

All variants share networks of two layers of 64, collection, step size, batches and epochs; see
`cm_ppo_run.make_config`. Source of the literal form: Fang & Di, "Efficient consistency model training for
policy distillation in reinforcement learning", Appendix A.3 and Figure 3.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row
from distill_rl.cli.experiments.cm_ppo_results import draw_results, write_table
from distill_rl.cli.experiments.cm_ppo_run import PPOSpec, run_training, start_small_ray
from distill_rl.cli.experiments.cm_ppo_timing import GAUSSIAN, TimingSpec, run_timing
from distill_rl.cli.experiments.jobs import run_jobs
from distill_rl.cli.ray_session import ray_session
from learners.ppo.config import LITERAL_FORM

_TASKS = {
    "inverted_pendulum": ("InvertedPendulum-v5", 1),
    "inverted_double_pendulum": ("InvertedDoublePendulum-v5", 1),
    "cheetah_run": ("dm_control/cheetah-run-v0", 4),
}
"""Environment and action repeat. Cheetah's is that of PlaNet (Hafner et al. 2019, Table 1)."""

_VARIANTS: dict[str, dict[str, Any] | None] = {GAUSSIAN: None, "literal": LITERAL_FORM, "bounded": {}}
_BY_COST = ((GAUSSIAN, "bounded"), ("literal",))
"""The literal form comes last: its updates take several times as long as those of the others together."""

_ABLATIONS: dict[str, dict[str, Any]] = {
    "no_consistency_loss": {"consistency_coeff": 0.0},
    "clamped_weights": {"weights": "clamp"},
    "linear_weights": {"weights": "linear"},
    "exact_only": {**LITERAL_FORM, "consistency_coeff": 0.0},
    "loss_difference": {"likelihood": "loss_difference", "num_sampling_steps": 2},
}
"""What stands between the literal and the bounded form; on the second task."""

_FIRST_SEED = 10  # settings were chosen by runs with smaller ones


@dataclasses.dataclass(frozen=True)
class _Scale:
    """How large the experiment is; `tasks` are seeds and environment steps of each."""

    tasks: Mapping[str, tuple[int, int]]
    num_ablation_seeds: int
    num_evaluations: int
    num_episodes: int
    num_repeats: int
    num_rows: int = 256
    num_envs: int = 16
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    consistency: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_TRAINING: dict[str, Any] = {
    "lr": 1e-3,
    "train_batch_size_per_learner": 2048,
    "minibatch_size": 256,
    "num_epochs": 10,
    "gamma": 0.99,
}
_SCALES = {
    "tiny": _Scale(
        tasks={"inverted_pendulum": (2, 64)},
        num_ablation_seeds=0,
        num_evaluations=2,
        num_episodes=1,
        num_repeats=1,
        num_rows=16,
        num_envs=2,
        training={"train_batch_size_per_learner": 32, "minibatch_size": 16, "num_epochs": 1},
        consistency={"hidden_sizes": [8]},
    ),
    "small": _Scale(
        tasks={
            "inverted_pendulum": (5, 30_000),
            "inverted_double_pendulum": (5, 30_000),
            "cheetah_run": (3, 125_000),
        },
        num_ablation_seeds=3,
        num_evaluations=8,
        num_episodes=5,
        num_repeats=3,
    ),
    # An environment step is four control steps: 2M are the paper's 8M.
    "full": _Scale(
        tasks={
            "inverted_pendulum": (5, 100_000),
            "inverted_double_pendulum": (5, 200_000),
            "cheetah_run": (5, 2_000_000),
        },
        num_ablation_seeds=5,
        num_evaluations=40,
        num_episodes=10,
        num_repeats=10,
    ),
}


def ppo_specs(scale: str) -> dict[str, PPOSpec]:
    """Returns the trainings of a scale, by name.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    specs: dict[str, PPOSpec] = {}
    for variants in _BY_COST:
        # Seeds before tasks: an interrupted experiment compares all tasks on the seeds it has.
        for index in range(max(num_seeds for num_seeds, _ in size.tasks.values())):
            for task, (num_seeds, num_env_steps) in size.tasks.items():
                for variant in variants if index < num_seeds else ():
                    seed = _FIRST_SEED + index
                    name = f"{task}-{variant}-seed{seed}"
                    specs[name] = _spec(size, variant, task, seed, num_env_steps, _VARIANTS[variant])
    if size.num_ablation_seeds:
        task = list(size.tasks)[1]
        for seed in range(_FIRST_SEED, _FIRST_SEED + size.num_ablation_seeds):
            for variant, consistency in _ABLATIONS.items():
                name = f"{task}-{variant}-seed{seed}"
                specs[name] = _spec(size, variant, task, seed, size.tasks[task][1], consistency)
    return specs


def timing_spec(scale: str) -> TimingSpec:
    """Returns what is timed: one update of each kind of likelihood, on the last task of the scale."""
    size = _SCALES[scale]
    task, (_, num_env_steps) = list(size.tasks.items())[-1]
    variants = {**_VARIANTS, "loss_difference": _ABLATIONS["loss_difference"]}
    specs = {v: _spec(size, v, task, _FIRST_SEED, num_env_steps, own) for v, own in variants.items()}
    updates = {variant: dataclasses.asdict(spec) for variant, spec in specs.items()}
    return TimingSpec(updates, size.num_rows, size.num_repeats)


def _spec(
    size: _Scale, variant: str, task: str, seed: int, num_env_steps: int, own: Mapping[str, Any] | None
) -> PPOSpec:
    env, action_repeat = _TASKS[task]
    consistency = None
    if own is not None:
        consistency = {"consistency_decay_steps": num_env_steps, **size.consistency, **own}
    return PPOSpec(
        variant=variant,
        task=task,
        env=env,
        action_repeat=action_repeat,
        seed=seed,
        num_env_steps=num_env_steps,
        evaluation_steps=num_env_steps // size.num_evaluations,
        num_episodes=size.num_episodes,
        num_envs=size.num_envs,
        training={**_TRAINING, **size.training},
        consistency=consistency,
    )


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    specs = {name: dataclasses.asdict(spec) for name, spec in ppo_specs(scale).items()}
    # In this process: another one takes as long to start as half a training on the easy tasks.
    with ray_session(start_small_ray):
        timing = run_jobs(run_timing, {"timing": dataclasses.asdict(timing_spec(scale))}, folder, note_fn)
        curves = run_jobs(run_training, specs, folder, note_fn)
    return [{"part": "curve", **row} for row in curves] + timing


CM_PPO = Experiment(
    title="PPO with a consistency policy",
    run=_run,
    table=write_table,
    draw=draw_results,
)
