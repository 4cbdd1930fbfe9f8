"""Return over time and steps, beside RLlib's SAC and PPO on the same cores.

Every method trains for the same time on the same two cores, on the same environment with the same action
repeat, and is evaluated by the same function without noise. The clock runs from the first training step,
after imports and the start of actors; it stands while a policy is evaluated.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row, Rows
from distill_rl.cli.experiments.curve_figure import CURVES, draw_curves, split_curves
from distill_rl.cli.experiments.curves import CurveSpec
from distill_rl.cli.experiments.jobs import in_subprocess, run_jobs

_JOB_MODULE = "distill_rl.cli.experiments.curve_run"
# Repeat 4 as in PlaNet (Hafner et al. 2019, Table 1) and its successors.
_ENV, _ACTION_REPEAT = "dm_control/cheetah-run-v0", 4
_FIRST_SEED = 10  # presets were chosen by runs with smaller ones
_POLICIES = {"distill": ("student", "search"), "sac": ("policy",), "ppo": ("policy",)}

_TINY_SETTINGS: dict[str, dict[str, Any]] = {
    "distill": {
        "env_runners.num_env_runners": 0,
        "env_runners.num_envs_per_env_runner": 2,
        "env_runners.rollout_fragment_length": 4,
        "search.num_candidates": 2,
        "search.num_perturbed": 1,
        "search.ascent_steps": [],
        "search.horizon_steps": 1,
        "distillation.hidden_sizes": (16,),
        "distillation.batch_size": 8,
        "loop.learning_starts": 8,
        "reporting.min_time_s_per_iteration": 0,
        "reporting.min_sample_timesteps_per_iteration": 8,
    },
    "sac": {
        "training.train_batch_size_per_learner": 8,
        "training.num_steps_sampled_before_learning_starts": 8,
        "reporting.min_time_s_per_iteration": 0,
        "reporting.min_sample_timesteps_per_iteration": 4,
    },
    "ppo": {
        "env_runners.num_env_runners": 0,
        "env_runners.num_envs_per_env_runner": 2,
        "training.train_batch_size_per_learner": 16,
        "training.minibatch_size": 8,
        "training.num_epochs": 1,
    },
}


@dataclasses.dataclass(frozen=True)
class _Scale:
    """How large the experiment is: seeds, seconds, and episodes of an evaluation."""

    num_seeds: int
    time_limit_sec: float
    evaluation_interval_sec: float
    num_episodes: int
    num_search_episodes: int
    action_repeat: int = _ACTION_REPEAT
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


_SCALES = {
    # Repeats of 20 make episodes of 50 steps.
    "tiny": _Scale(1, 0.4, 0.2, 1, 1, action_repeat=20, settings=_TINY_SETTINGS),
    "small": _Scale(1, 180.0, 20.0, 3, 1),
    "full": _Scale(3, 900.0, 45.0, 5, 2),
}


def curve_specs(scale: str) -> dict[str, CurveSpec]:
    """Returns the runs of a scale, by name.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    specs = {}
    # Seeds outermost: an interrupted experiment compares all methods on the seeds it has.
    for seed in range(_FIRST_SEED, _FIRST_SEED + size.num_seeds):
        for method, policies in _POLICIES.items():
            episodes = {"search": size.num_search_episodes}
            specs[f"{method}_seed{seed}"] = CurveSpec(
                method=method,
                env=_ENV,
                action_repeat=size.action_repeat,
                seed=seed,
                time_limit_sec=size.time_limit_sec,
                evaluation_interval_sec=size.evaluation_interval_sec,
                num_episodes={policy: episodes.get(policy, size.num_episodes) for policy in policies},
                settings=dict(size.settings.get(method, {})),
            )
    return specs


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    specs = {name: dataclasses.asdict(spec) for name, spec in curve_specs(scale).items()}
    return run_jobs(in_subprocess(_JOB_MODULE), specs, folder, note_fn)


def _table(rows: Rows) -> str:
    """Writes what each method has reached at the end."""
    lines = [
        "| method | seeds | return at the end | min | max | environment steps | simulator steps | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for curve in CURVES:
        ends = [run[-1] for run in split_curves(rows, curve)]
        if ends:
            lines.append(_table_line(curve.label, ends))
    first = rows[0]
    lines += [
        "",
        f"`{first['env']}`, action repeat {first['action_repeat']} for all: an environment step is as many "
        "control steps. Simulator steps are control steps, those of searches and of environments together. "
        "Minutes are of training; evaluations come on top.",
    ]
    return "\n".join(lines)


def _table_line(label: str, ends: Sequence[Mapping[str, Any]]) -> str:
    returns = np.array([end["episode_return"] for end in ends])
    mean = {n: np.mean([end[n] for end in ends]) for n in ("env_steps", "simulator_steps", "wall_sec")}
    cells = [
        label,
        str(len(ends)),
        *(f"{value:.0f}" for value in (returns.mean(), returns.min(), returns.max())),
        f"{mean['env_steps']:,.0f}",
        f"{mean['simulator_steps']:,.0f}",
        f"{mean['wall_sec'] / 60:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


LEARNING_CURVES = Experiment(
    title="Learning curves on two cores, beside RLlib's SAC and PPO",
    run=_run,
    table=_table,
    draw=draw_curves,
)
