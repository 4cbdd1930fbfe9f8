"""Search in a learned model beside search in the true simulator, over steps of the environment.

Both presets of a task train in one process each, with the same seeds, until they have taken as many steps as
the scale says; what the student, one network call without noise, and the search on top of it have reached is
measured along the way. With a learned model no step is simulated but those that the environment takes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row, Rows
from distill_rl.cli.experiments.curve_figure import band
from distill_rl.cli.experiments.jobs import in_subprocess, run_jobs
from distill_rl.cli.experiments.step_curve import StepCurveSpec
from distill_rl.cli.plots import STYLE, TICKS

_JOB_MODULE = "distill_rl.cli.experiments.step_curve"
_FIRST_SEED = 10
_TINY_SETTINGS = {
    "env_runners.num_envs_per_env_runner": 2,
    "environment.env_config": {"action_repeat": 20},
    "search.num_candidates": 2,
    "search.num_perturbed": 1,
    "search.ascent_steps": [],
    "distillation.hidden_sizes": [16],
    "distillation.batch_size": 8,
    "loop.learning_starts": 8,
}
_TINY_MODEL = {
    "world_model.latent_size": 16,
    "world_model.group_size": 4,
    "world_model.model_hidden_sizes": [16],
}


class _Task(NamedTuple):
    """Its presets differ in what the search steps."""

    simulator_preset: str
    model_preset: str
    num_env_steps: int


_TASKS = {
    "cartpole-swingup": _Task("cartpole_swingup", "cartpole_swingup_latent", 12_000),
    "cheetah-run": _Task("cheetah_run", "cheetah_run_latent", 24_000),
}
_SEARCHED = {"simulator": "#1f6fd6", "learned model": "#d9730d"}


@dataclasses.dataclass(frozen=True)
class _Scale:
    """How large the experiment is: the share of the tasks' steps, and how often and how long one looks."""

    num_seeds: int
    share: float
    num_evaluations: int
    num_episodes: Mapping[str, int]


_SCALES = {
    "tiny": _Scale(1, 0.003, 1, {"student": 1, "search": 1}),
    "small": _Scale(3, 1.0, 8, {"student": 4, "search": 1}),
    "full": _Scale(5, 5.0, 20, {"student": 10, "search": 4}),
}


def learned_model_specs(scale: str) -> dict[str, StepCurveSpec]:
    """Returns the runs of a scale, by name; seeds outermost.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    specs = {}
    for seed in range(_FIRST_SEED, _FIRST_SEED + size.num_seeds):
        for task in _TASKS.values():
            num_env_steps = int(size.share * task.num_env_steps)
            for preset in (task.model_preset, task.simulator_preset):
                settings: dict[str, Any] = {}
                if scale == "tiny":
                    settings |= _TINY_SETTINGS
                    settings |= _TINY_MODEL if preset == task.model_preset else {}
                specs[f"{preset}_seed{seed}"] = StepCurveSpec(
                    preset=preset,
                    seed=seed,
                    num_env_steps=num_env_steps,
                    evaluation_env_steps=num_env_steps // size.num_evaluations,
                    num_episodes=size.num_episodes,
                    settings=settings,
                )
    return specs


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    specs = {name: dataclasses.asdict(spec) for name, spec in learned_model_specs(scale).items()}
    # One core each; nothing that is compared is a time.
    return run_jobs(in_subprocess(_JOB_MODULE), specs, folder, note_fn, num_parallel=2)


def _runs(rows: Rows, preset: str, policy: str) -> list[list[Mapping[str, Any]]]:
    """Returns the rows of each seed in order."""
    own = [row for row in rows if (row["preset"], row["policy"]) == (preset, policy)]
    return [[row for row in own if row["seed"] == seed] for seed in sorted({row["seed"] for row in own})]


def _table(rows: Rows) -> str:
    """Writes what is reached at the end: means over seeds (smallest and largest)."""
    lines = [
        "| task | searched in | seeds | environment steps | steps searched | student | search | cpu-min |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, task in _TASKS.items():
        for searched, preset in zip(_SEARCHED, (task.simulator_preset, task.model_preset)):
            students = [run[-1] for run in _runs(rows, preset, "student")]
            searches = [run[-1] for run in _runs(rows, preset, "search")]
            mean = {
                column: np.mean([end[column] for end in students])
                for column in ("env_steps", "searched_steps", "train_cpu_sec")
            }
            cells = [
                name,
                searched,
                str(len(students)),
                f"{mean['env_steps']:,.0f}",
                f"{mean['searched_steps']:,.0f}",
                _spread([end["episode_return"] for end in students]),
                _spread([end["episode_return"] for end in searches]),
                f"{mean['train_cpu_sec'] / 60:.1f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Returns without noise; an environment step is four control steps. Steps searched are control steps "
        "of the simulator, or steps of the model.",
    ]
    return "\n".join(lines)


def _spread(returns: list[float]) -> str:
    return f"{np.mean(returns):.0f} ({min(returns):.0f} to {max(returns):.0f})"


def _draw(rows: Rows, folder: Path) -> list[Path]:
    """Draws returns over environment steps, a panel a task, into `learned_model.png`."""
    path = folder / "learned_model.png"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 4.2), layout="constrained")
        axes = figure.subplots(1, len(_TASKS), sharey=True)
        for axis, (name, task) in zip(axes, _TASKS.items(), strict=True):
            _draw_panel(axis, rows, task)
            axis.set_title(name)
            axis.set_xlabel("environment steps")
        axes[0].set_ylabel("return of an episode, without noise")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.savefig(path)
    return [path]


def _draw_panel(axis: Axes, rows: Rows, task: _Task) -> None:
    presets = (task.simulator_preset, task.model_preset)
    for (searched, color), preset in zip(_SEARCHED.items(), presets):
        for policy, style in (("student", "-"), ("search", ":")):
            x, mean, low, high = band([_points(run) for run in _runs(rows, preset, policy)])
            axis.plot(x, mean, style, color=color, label=f"{searched}: {policy}")
            if policy == "student":
                axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axis.set_xlim(left=0.0)
    axis.xaxis.set_major_formatter(TICKS)


def _points(run: list[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["env_steps"] for row in run]), np.array([row["episode_return"] for row in run])


LEARNED_MODEL = Experiment(
    title="Search in a learned model, beside search in the simulator",
    run=_run,
    table=_table,
    draw=_draw,
)
