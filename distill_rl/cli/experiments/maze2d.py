"""Planning in mazes, Tables 2 and 11 of Duan et al. (2025), RACTD, on data of our own by D4RL's protocol.

Plans are sequences of states between a start and D4RL's goal, made once and followed by learned inverse
dynamics. Diffuser, the teacher and every other sampler of many steps run on one denoiser, so that they differ
by the sampler alone; in the source Diffuser has a network of its own. MPPI plans in the true simulator, again
and again.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.base import SCALES, Experiment, Row
from distill_rl.cli.experiments.jobs import run_jobs, save_result
from distill_rl.cli.experiments.maze2d_results import MPPI, draw_results, write_table
from distill_rl.cli.experiments.maze2d_run import run_job
from distill_rl.cli.experiments.maze2d_training import MazeSpec
from distill_rl.cli.experiments.planning_run import PlanningSpec, run_planning
from distill_rl.datasets.scores import REFERENCE_SCORES, normalized_score
from distill_rl.envs.maze2d import ENV_IDS, MAX_EPISODE_STEPS

HORIZONS = {"umaze": 128, "medium": 256, "large": 384}
"""Steps that a plan spans. Source: RACTD, Table 6."""
DIFFUSER_STEPS = {"umaze": 64, "medium": 256, "large": 256}
"""Steps of Diffuser. Source: RACTD, Table 2."""

_MPPI_REPEAT = 4
_MPPI_SETTINGS = {
    "horizon_steps": 25,  # times the repeat: one second
    "hold_steps": 5,
    "num_candidates": 16,
    "scale": 1.0,
    "target_ess": 1.5,
    "discount": 1.0,
}


@dataclasses.dataclass(frozen=True)
class _Scale:
    """How large the experiment is.

    Attributes:
      layouts: mazes.
      num_seeds: of each.
      plan: fields of `PlanConfig` by layout, without the number of steps, which follows from the horizon.
      spec: fields of `MazeSpec` that layouts share.
      teacher_updates: by layout.
      student_updates: of each student, by layout.
      student: fields of `PlanConfig` that students have of their own, by layout.
      num_mppi_episodes: of each maze.
      mppi_steps: environment steps of each; None for whole episodes.
    """

    layouts: tuple[str, ...]
    num_seeds: int
    plan: Mapping[str, dict[str, Any]]
    spec: Mapping[str, Any]
    teacher_updates: Mapping[str, int]
    student_updates: Mapping[str, int]
    student: Mapping[str, dict[str, Any]]
    num_mppi_episodes: int
    mppi_steps: int | None = None


_TINY = {"level_sizes": (8, 8), "guide_level_sizes": (8,), "embedding_size": 8, "kernel_size": 3}
_SMALL = {
    "embedding_size": 64,
    "guide_level_sizes": (16, 32, 64),
    "stride": 4,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "reward_weight": 0.2,
    "ema_decay": 0.99,
}
_SMALL_DEEPER = _SMALL | {"level_sizes": (32, 64, 64, 64), "reward_weight": 0.05}
# What the teacher knows reaches the longest jump level by level: so few updates call for fewer of them.
_FEW_LEVELS = {"num_levels": 18, "num_solver_steps": 6}
_SCALES = {
    "tiny": _Scale(
        layouts=("umaze",),
        num_seeds=1,
        plan={"umaze": _TINY | {"batch_size": 4, "num_levels": 6}},
        spec={
            "num_data_steps": 600,
            "inverse_updates": 20,
            "guide_updates": 2,
            "reward_updates": 2,
            "guidance_scale": 10.0,
            "num_episodes": 2,
            "num_timings": 1,
        },
        teacher_updates={"umaze": 2},
        student_updates={"umaze": 2},
        student={},
        num_mppi_episodes=1,
        mppi_steps=8,
    ),
    "small": _Scale(
        layouts=tuple(HORIZONS),
        num_seeds=3,
        plan={
            "umaze": _SMALL | {"level_sizes": (32, 64, 64)},
            "medium": _SMALL_DEEPER,
            "large": _SMALL_DEEPER,
        },
        spec={
            "num_data_steps": 100_000,
            "inverse_updates": 2_000,
            "guide_updates": 250,
            "reward_updates": 1_500,
            "guidance_scale": 10.0,
            "num_episodes": 100,
            "num_timings": 3,
        },
        teacher_updates={"umaze": 1_500, "medium": 6_000, "large": 8_000},
        student_updates={"umaze": 480, "medium": 1_440, "large": 1_440},
        student={"medium": _FEW_LEVELS, "large": _FEW_LEVELS},
        num_mppi_episodes=5,
    ),
    "full": _Scale(
        layouts=tuple(HORIZONS),
        num_seeds=3,
        plan={  # RACTD, Table 6
            "umaze": {"level_sizes": (256, 512, 1024)},
            "medium": {"level_sizes": (512, 1024, 2048)},
            "large": {"level_sizes": (256, 512, 1024, 2048)},
        },
        spec={
            "num_data_steps": 1_000_000,
            "inverse_updates": 20_000,
            "guide_updates": 100_000,
            "reward_updates": 10_000,
            "guidance_scale": 10.0,
            "num_episodes": 100,
            "num_timings": 5,
        },
        teacher_updates=dict.fromkeys(HORIZONS, 500_000),
        student_updates=dict.fromkeys(HORIZONS, 100_000),
        student={},
        num_mppi_episodes=100,
    ),
}


def maze_specs(scale: str) -> dict[str, dict[str, Any]]:
    """Returns the jobs of a scale by name: one for each maze and seed, and those of MPPI.

    Raises:
      ValueError: if the scale is unknown.
    """
    check_choice("scale", scale, SCALES)
    size = _SCALES[scale]
    specs: dict[str, dict[str, Any]] = {}
    for seed in range(size.num_seeds):
        for layout in size.layouts:
            maze = MazeSpec(
                layout=layout,
                seed=seed,
                plan=size.plan[layout]
                | {"num_steps": HORIZONS[layout] // size.plan[layout].get("stride", 1)},
                teacher_updates=size.teacher_updates[layout],
                student_updates=size.student_updates[layout],
                student=size.student.get(layout, {}),
                num_diffuser_steps=4 if scale == "tiny" else DIFFUSER_STEPS[layout],
                **size.spec,
            )
            specs[f"{layout}_{seed}"] = dataclasses.asdict(maze)
    for layout in size.layouts:
        planning = PlanningSpec(
            operator="mppi",
            settings=_MPPI_SETTINGS,
            env=ENV_IDS[layout],
            action_repeat=_MPPI_REPEAT,
            num_rollouts=int(_MPPI_SETTINGS["num_candidates"]),
            num_steps=size.mppi_steps or MAX_EPISODE_STEPS[layout],
            num_episodes=size.num_mppi_episodes,
        )
        specs[f"{layout}_mppi"] = {"layout": layout, "planning": dataclasses.asdict(planning)}
    return specs


def _run(scale: str, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    def run(spec: Mapping[str, Any], job_folder: Path) -> None:
        if "planning" in spec:
            save_result(job_folder, spec, [_run_mppi(spec["layout"], PlanningSpec(**spec["planning"]))])
        else:
            run_job(spec, job_folder, note_fn)

    return run_jobs(run, maze_specs(scale), folder, note_fn)


def _run_mppi(layout: str, spec: PlanningSpec) -> Row:
    """Returns a row like those of the learned planners; its time is that of all decisions of an episode."""
    (planned,) = run_planning(spec)
    reference = REFERENCE_SCORES[f"maze2d-{layout}-v1"]
    returns = planned["episode_returns"]
    num_decisions = -(-spec.num_steps // spec.action_repeat)
    return {
        "layout": layout,
        "seed": spec.seed,
        "method": MPPI,
        "scores": [round(normalized_score(value, reference), 2) for value in returns],
        "success_rate": float(np.mean(np.array(returns) > 0.0)),
        "plan_sec": [1e-3 * planned["cpu_ms_per_decision"] * num_decisions],
        "decision_sec": 1e-3 * planned["cpu_ms_per_decision"],
        "examples": [],
        "machine": planned["machine"],
    }


MAZE2D = Experiment(
    title="Planning in mazes",
    run=_run,
    table=write_table,
    draw=draw_results,
)
