"""What one teacher, its reward model and the students distilled from the two are."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES
from distill_rl.cli.experiments.tasks import preset_of
from distill_rl.cli.presets import SMALL, load_preset

DATA, TEACHER, REWARD_FREE, RACTD = "data", "teacher", "student without rewards", "RACTD"
AWARE = "reward-aware teacher"

GYM_TASKS = tuple(
    f"{robot}_{kind}"
    for kind in ("medium_expert", "medium_replay", "medium")
    for robot in ("hopper", "walker2d", "half_cheetah")
)


@dataclasses.dataclass(frozen=True)
class RactdSpec:
    """What to train and judge.

    Attributes:
      task: of the experiment.
      env: Gymnasium id to evaluate in.
      dataset: to learn from.
      seed: of everything random.
      learning: fields of `TrajectoryConfig`.
      stages: fields of `StagesConfig`.
      acting: fields of `ChunkActingConfig`.
      teachers: by label, fields of `TrajectoryConfig` that differ.
      students: by label, likewise. Each is distilled from each teacher.
      evaluation_updates: updates between two evaluations of a student; the last one is of `num_episodes`, the
        others of `num_progress_episodes`.
      num_episodes: of the last model.
      num_progress_episodes: of each evaluation before.
      jumps: further numbers of jumps that students are judged with, in `num_progress_episodes`.
    """

    task: str
    env: str
    dataset: str
    seed: int
    learning: Mapping[str, Any]
    stages: Mapping[str, Any]
    acting: Mapping[str, Any]
    teachers: Mapping[str, Mapping[str, Any]]
    students: Mapping[str, Mapping[str, Any]]
    evaluation_updates: int
    num_episodes: int
    num_progress_episodes: int
    jumps: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Scale:
    """What the scales of all experiments share; None for the preset's."""

    size: str
    has_own_data: bool
    num_seeds: int
    learning: Mapping[str, Any]
    stages: Mapping[str, Any]
    evaluation_updates: int
    num_episodes: int
    num_progress_episodes: int


_SCALES = {
    "tiny": _Scale(
        size=SMALL,
        has_own_data=True,
        num_seeds=1,
        learning={"level_sizes": [8, 8], "batch_size": 8, "reward_hidden_sizes": [8]},
        stages={"teacher_updates": 2, "reward_updates": 2, "student_updates": 2},
        evaluation_updates=1,
        num_episodes=2,
        num_progress_episodes=1,
    ),
    "small": _Scale(
        size=SMALL,
        has_own_data=True,
        num_seeds=3,
        learning={},
        stages={},
        evaluation_updates=300,
        num_episodes=100,
        num_progress_episodes=20,
    ),
    "full": _Scale(
        size="laptop",
        has_own_data=False,
        num_seeds=3,
        learning={},
        stages={},
        evaluation_updates=10_000,
        num_episodes=100,
        num_progress_episodes=20,
    ),
}


def num_seeds(scale: str) -> int:
    """Returns how many seeds a scale has.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    return _SCALES[scale].num_seeds


def make_spec(
    scale: str,
    task: str,
    seed: int,
    students: Mapping[str, Mapping[str, Any]],
    teachers: Mapping[str, Mapping[str, Any]] | None = None,
    jumps: tuple[int, ...] = (),
) -> RactdSpec:
    """Returns a specification of the sizes of a scale, on our own data but for `full`.

    Args:
      scale: one of `SCALES`.
      task: of a preset, without its `ractd_`; or a whole replay, see `preset_of`.
      seed: of everything random.
      students: see `RactdSpec`.
      teachers: see `RactdSpec`; by default one that knows of no rewards.
      jumps: see `RactdSpec`.

    Raises:
      ValueError: if the scale or the task is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    sections = load_preset(f"ractd_{preset_of(task)}", size.size)
    return RactdSpec(
        task=task,
        env=sections["environment"]["env"],
        dataset=f"own-{task.replace('_', '-')}" if size.has_own_data else sections["dataset"]["name"],
        seed=seed,
        learning={**sections["learning"], **size.learning},
        stages={**sections.get("stages", {}), **size.stages},
        acting=sections["acting"],
        teachers={TEACHER: {}} if teachers is None else teachers,
        students=students,
        evaluation_updates=size.evaluation_updates,
        num_episodes=size.num_episodes,
        num_progress_episodes=size.num_progress_episodes,
        jumps=jumps,
    )
