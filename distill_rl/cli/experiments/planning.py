"""The operators alone: what each plans with nothing learned, at equal numbers of simulated steps.

A budget is a number of rollouts over the task's horizon. Planners and the root bandit spend it on plans of
that length; trees spend as many simulated steps on nodes, each of which holds its action for as long as the
others hold their noise. The policy that is improved on knows nothing: zero, or uniform noise.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row, Rows
from distill_rl.cli.experiments.jobs import run_jobs, save_result
from distill_rl.cli.experiments.planning_run import PlanningSpec, run_planning
from distill_rl.cli.plots import STYLE, TICKS


@dataclasses.dataclass(frozen=True)
class _Task:
    """How a task is planned: horizon and hold in control steps, noise of the plans."""

    horizon: int
    hold: int
    scale: float = 0.6


# Horizons of 0.4 to 0.8 s; tasks whose reward lies behind a swing or is sparse take 1 s and more noise. It is
# squashed: a scale of 3 puts half of it beyond 0.96.
_TASKS = {
    "cheetah-run": _Task(40, 4, 1.0),
    "walker-walk": _Task(20, 2),
    "walker-run": _Task(30, 3),
    "hopper-hop": _Task(60, 4, 1.0),
    "pendulum-swingup": _Task(60, 6, 3.0),
    "cartpole-swingup": _Task(100, 10, 1.0),
    "acrobot-swingup": _Task(100, 10, 1.0),
    "reacher-easy": _Task(40, 4),
    "reacher-hard": _Task(40, 4),
    "point_mass-easy": _Task(60, 6, 1.0),
    "finger-spin": _Task(40, 4, 1.0),
    "ball_in_cup-catch": _Task(50, 5, 1.0),
}

_COLORS = {
    "policy": "#8a8f98",
    "root_bandit": "#1f6fd6",
    "mppi": "#d9730d",
    "cem": "#b5446e",
    "gumbel_muzero": "#0f8a5f",
    "muzero": "#7a4fb5",
    "sampled_muzero": "#58b594",
    "regularized_policy": "#1c2733",
}
_TREES = ("gumbel_muzero", "muzero", "sampled_muzero", "regularized_policy")


@dataclasses.dataclass(frozen=True)
class _Scale:
    """How large the experiment is."""

    tasks: tuple[str, ...]
    budgets: tuple[int, ...]
    num_steps: int
    num_episodes: int


_SCALES = {
    "tiny": _Scale(("pendulum-swingup", "reacher-easy"), (8,), 12, 1),
    "small": _Scale(tuple(_TASKS), (8, 16, 32), 250, 1),
    "full": _Scale(tuple(_TASKS), (16, 32, 128), 1_000, 3),
}


def planning_specs(scale: str) -> dict[str, PlanningSpec]:
    """Returns the runs of a scale, by name.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    specs = {}
    for name in size.tasks:
        for operator in _COLORS:
            for num_rollouts in size.budgets if operator != "policy" else size.budgets[:1]:
                task = _TASKS[name]
                specs[f"{name}_{operator}_{num_rollouts}"] = PlanningSpec(
                    operator=operator,
                    settings=_settings(operator, task, num_rollouts),
                    env=f"dm_control/{name}-v0",
                    action_repeat=task.hold if operator in _TREES else 1,
                    num_rollouts=num_rollouts,
                    num_steps=size.num_steps,
                    num_episodes=size.num_episodes,
                )
    return specs


def _settings(operator: str, task: _Task, num_rollouts: int) -> dict[str, Any]:
    """Returns the settings of an operator that spend a budget."""
    horizon = {"horizon_steps": task.horizon, "hold_steps": task.hold, "discount": 1.0}
    if operator == "mppi":
        return horizon | {"num_candidates": num_rollouts, "scale": task.scale, "target_ess": 1.5}
    if operator == "cem":
        per_round = max(4, num_rollouts // 3)
        elites = max(2, per_round // 5)
        return horizon | {"num_candidates": per_round, "num_elites": elites, "scale": task.scale}
    if operator == "root_bandit":
        return horizon | {"num_candidates": num_rollouts, "num_perturbed": num_rollouts - 5}
    if operator == "policy":
        return {"num_candidates": 1}
    return {
        "num_candidates": 16,
        "num_interior_candidates": 8,
        "num_simulations": max(16, num_rollouts * task.horizon // task.hold),
        "max_depth": task.horizon // task.hold,
        "discount": 1.0,
    }


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    def run(spec: Mapping[str, Any], job_folder: Path) -> None:
        save_result(job_folder, spec, run_planning(PlanningSpec(**spec)))

    specs = {name: dataclasses.asdict(spec) for name, spec in planning_specs(scale).items()}
    return run_jobs(run, specs, folder, note_fn)


def _by_task(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    tasks = dict.fromkeys(row["task"] for row in rows)
    return {task: [row for row in rows if row["task"] == task] for task in tasks}


def _table(rows: Rows) -> str:
    """Writes returns, the share of the best on each task, and what a decision costs."""
    lines = [
        "| task | operator | rollouts | return | min | max | share of the best | cpu-ms a decision | "
        "simulator steps a decision |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    shares: dict[tuple[str, int], list[float]] = {}
    for task, own in _by_task(rows).items():
        best = max(row["episode_return"] for row in own)
        for row in own:
            share = row["episode_return"] / best if best > 0.0 else None
            if share is not None:
                shares.setdefault((row["operator"], row["num_rollouts"]), []).append(share)
            cells = [
                task,
                row["operator"],
                str(row["num_rollouts"]),
                *(
                    f"{row[key]:.0f}"
                    for key in ("episode_return", "episode_return_min", "episode_return_max")
                ),
                "-" if share is None else f"{share:.2f}",
                f"{row['cpu_ms_per_decision']:.3g}",
                f"{row['simulator_steps_per_decision']:,.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| operator | rollouts | mean share of the best |", "| --- | --- | --- |"]
    lines += [f"| {name} | {budget} | {np.mean(values):.2f} |" for (name, budget), values in shares.items()]
    first = rows[0]
    lines += [
        "",
        f"{first['num_episodes']} episodes of {first['num_steps']} control steps each; tasks on which nobody "
        "scored count for no mean. Trees repeat each "
        "action over the task's hold, so a decision of theirs covers several control steps. Planners carry "
        "their plans over and carry out the mean; the others decide anew and take their best candidate.",
    ]
    return "\n".join(lines)


def _draw(rows: Rows, folder: Path) -> list[Path]:
    """Draws return over cpu-time, one panel a task, into `planning.png`."""
    path, by_task = folder / "planning.png", _by_task(rows)
    num_columns = min(4, len(by_task))
    num_rows = -(-len(by_task) // num_columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * num_columns, 2.8 * num_rows + 0.6), layout="constrained")
        axes = np.atleast_1d(figure.subplots(num_rows, num_columns)).ravel()
        for axis, (task, own) in zip(axes, by_task.items()):
            _draw_panel(axis, task, own)
        for axis in axes[len(by_task) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(by_task) - num_columns) : len(by_task)]:
            axis.set_xlabel("cpu-ms a control step")
        axes[0].set_ylabel("return")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        figure.savefig(path)
    return [path]


def _draw_panel(axis: Axes, task: str, rows: Rows) -> None:
    for operator, color in _COLORS.items():
        own = [row for row in rows if row["operator"] == operator]
        if not own:
            continue
        returns = [row["episode_return"] for row in own]
        if operator == "policy":
            axis.axhline(returns[0], color=color, linestyle=":", label=operator)
            continue
        cost = [row["cpu_ms_per_decision"] / row["action_repeat"] for row in own]
        axis.plot(cost, returns, color=color, marker="o", markersize=3, label=operator)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(TICKS)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(bottom=0.0, top=None if max(row["episode_return"] for row in rows) > 0.0 else 1.0)
    axis.set_title(task)


PLANNING = Experiment(
    title="Operators alone: planning without a learned policy",
    run=_run,
    table=_table,
    draw=_draw,
)
