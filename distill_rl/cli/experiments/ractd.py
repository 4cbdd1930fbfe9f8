"""Teacher, reward-free student and RACTD beside each other, Duan et al. (2025), Tables 1, 4, 5, 10 and 12.

`small` learns from our own datasets, whose scores cannot be compared with those of papers; `full` from those
of D4RL, with the published networks.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distill_rl.cli.experiments.base import Experiment, Row, Rows
from distill_rl.cli.experiments.jobs import check_datasets, in_subprocess, run_jobs
from distill_rl.cli.experiments.ractd_run import run_here
from distill_rl.cli.experiments.ractd_spec import (
    AWARE,
    DATA,
    GYM_TASKS,
    RACTD,
    REWARD_FREE,
    TEACHER,
    RactdSpec,
    make_spec,
    num_seeds,
)
from distill_rl.cli.experiments.tables import spread
from distill_rl.cli.plots import STYLE

_JOB_MODULE = "distill_rl.cli.experiments.ractd_run"
COLORS = {DATA: "#8a8f98", TEACHER: "#1f6fd6", REWARD_FREE: "#d9730d", RACTD: "#0f8a5f"}

_TASKS = {
    "tiny": ("hopper_medium_replay",),
    "small": ("hopper_medium_expert", "hopper_medium_replay", "hopper_full_replay"),
    "full": GYM_TASKS,
}
_ABLATED = {
    "tiny": ("hopper_medium_replay",),
    "small": ("hopper_full_replay",),
    "full": ("hopper_medium_replay", "walker2d_medium"),
}
"""Tasks with both kinds of teacher; on the first one students take more jumps as well."""
_JUMPS = (2, 3, 4)


def ractd_specs(scale: str) -> dict[str, RactdSpec]:
    """Returns the runs of a scale, by name.

    Raises:
      ValueError: if the scale is unknown.
    """
    specs: dict[str, RactdSpec] = {}
    # Seeds outermost: an interrupted experiment compares all tasks on the seeds it has.
    for seed in range(num_seeds(scale)):
        for task in _TASKS[scale]:
            contenders = students(scale, task)
            aware = {"teacher_reward_weight": contenders[RACTD]["reward_weight"]}
            teachers = {TEACHER: {}, AWARE: aware} if task in _ABLATED[scale] else None
            jumps = _JUMPS if task == _ABLATED[scale][0] else ()
            specs[f"{task}-seed{seed}"] = make_spec(scale, task, seed, contenders, teachers, jumps)
    return specs


def students(scale: str, task: str) -> dict[str, dict[str, float]]:
    """Returns the two students of a task: one without rewards, and one with.

    The published weight of medium-expert is 0, which is no RACTD; there it is that of medium-replay.

    Raises:
      ValueError: if the scale or the task is unknown.
    """
    weight = make_spec(scale, task, 0, {}).learning["reward_weight"]
    if weight == 0.0:
        other = task.replace("medium_expert", "medium_replay")
        weight = make_spec(scale, other, 0, {}).learning["reward_weight"]
    return {REWARD_FREE: {"reward_weight": 0.0}, RACTD: {"reward_weight": weight}}


def run_specs(
    scale: str, specs: dict[str, RactdSpec], folder: Path, note_fn: Callable[[str], None]
) -> list[Row]:
    """Runs specifications, each in a process of its own but for `tiny`.

    Raises:
      ValueError: if datasets are missing, naming all of them, before the first run.
      TrainingError: if a run fails.
    """
    jobs = {name: dataclasses.asdict(spec) for name, spec in specs.items()}
    check_datasets(jobs, folder)
    # A process takes longer to start than a run of the tiny scale.
    run_fn = run_here if scale == "tiny" else in_subprocess(_JOB_MODULE)
    return run_jobs(run_fn, jobs, folder, note_fn)


def last_rows(rows: Rows, task: str) -> dict[str, list[Row]]:
    """Returns the rows of the last models of a task, one for each seed, by what they are of.

    That is the dataset, each teacher, and each student; students of a teacher other than the first, and
    those that take more than one jump, have that in their name.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["task"] != task or not row.get("is_last", True):
            continue
        name = row["label"]
        if row["part"] == "student":
            name += "" if row["teacher"] == TEACHER else f" of the {row['teacher']}"
            name += "" if row["num_jumps"] == 1 else f", {row['num_jumps']} jumps"
        found.setdefault(name, []).append(dict(row))
    return found


def tasks_of(rows: Rows) -> list[str]:
    """Returns the tasks that rows are of, in order."""
    return list(dict.fromkeys(row["task"] for row in rows))


def write_table(rows: Rows) -> str:
    """Writes a table for each task."""
    lines: list[str] = []
    for task in tasks_of(rows):
        by_name = last_rows(rows, task)
        lines += [
            f"## {task}, learned from `{by_name[DATA][0]['dataset']}`",
            "",
            "| | seeds | episodes | return | score | updates, s | action, ms | spread of actions |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, of_name in by_name.items():
            cells = [f"{len(of_name)}" if name != DATA else "-", f"{len(of_name[0]['episode_returns'])}"]
            cells += [spread([row[key] for row in of_name]) for key in ("episode_return", "score")]
            for key, digits in (("train_sec", 0), ("action_msec", 2), ("action_spread", 3)):
                known = [row[key] for row in of_name if key in row]
                cells.append(f"{np.median(known):.{digits}f}" if known else "-")
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "Returns are means of episodes; of these the mean over seeds, the smallest and the largest. Scores "
        "are on D4RL's scale. Updates are in cpu-seconds of one thread, those of a teacher with those of the "
        "reward model; an action in cpu-milliseconds for one state. The spread is that of the first actions "
        "that are drawn in one state.",
    ]
    return "\n".join(lines)


def draw(rows: Rows, folder: Path) -> list[Path]:
    """Draws how returns of episodes are distributed in each task.

    Returns:
      `returns.png`.
    """
    tasks = tasks_of(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.6 + 2.6 * len(tasks)), layout="constrained")
        for axis, task in zip(figure.subplots(len(tasks), 1, squeeze=False).ravel(), tasks):
            draw_returns(axis, rows, task)
            axis.set_title(task.replace("_", " "))
        figure.savefig(folder / "returns.png")
    return [folder / "returns.png"]


def draw_returns(axis: matplotlib.axes.Axes, rows: Rows, task: str) -> None:
    """Draws the returns of all episodes of data, teacher and both students, of all seeds together."""
    by_name = last_rows(rows, task)
    names = [name for name in COLORS if name in by_name]
    returns = {
        # The dataset is the same for all seeds.
        name: np.concatenate([row["episode_returns"] for row in by_name[name][: 1 if name == DATA else None]])
        for name in names
    }
    edges = np.linspace(min(map(np.min, returns.values())), max(map(np.max, returns.values())) + 1e-6, 31)
    for name in names:
        shares = np.histogram(returns[name], edges)[0] / len(returns[name])
        is_filled = name == DATA
        axis.stairs(
            shares, edges, fill=is_filled, color=COLORS[name], alpha=0.5 if is_filled else 1.0, lw=1.6
        )
        axis.plot([], [], color=COLORS[name], lw=4 if is_filled else 1.6, label=name)
    axis.set_xlabel("return of an episode")
    axis.set_ylabel("share of episodes")
    axis.legend(frameon=False)


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    return run_specs(scale, ractd_specs(scale), folder, note_fn)


RACTD_EXPERIMENT = Experiment(
    title="Reward-aware consistency trajectory distillation", run=_run, table=write_table, draw=draw
)
"""Tables and figure of teacher and students."""
