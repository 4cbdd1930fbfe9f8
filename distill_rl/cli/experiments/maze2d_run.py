"""One maze and seed: every way to plan from the same starts, followed, judged and timed."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from actors.plan_following import FollowedPlans, PlanFn, follow_plans
from actors.waypoints import shortest_path
from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.experiments.maze2d_training import MazeSpec, Planners, train_planners
from distill_rl.cli.machine import describe_machine
from distill_rl.datasets.scores import REFERENCE_SCORES, normalized_score
from distill_rl.diffusion.multistep import variance_preserving_sigmas
from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.envs import make_env
from distill_rl.envs.maze2d import ENV_IDS, MAX_EPISODE_STEPS, cell_of, goal_cell, wall_map
from distill_rl.networks.plan_networks import PlanReturn
from distill_rl.policies.plan_sampling import (
    SampleFn,
    diffusion_sampler,
    infer_actions,
    interpolate_plans,
    jump_sampler,
    plan_states,
)

DIFFUSER, TEACHER = "Diffuser", "EDM Heun (teacher)"

_STUDENT_SIGMAS = {1: (), 2: (2.0,), 3: (3.0, 0.6), 4: (5.0, 1.5, 0.4)}
"""Levels that the student's further jumps start from, by the number of jumps."""
_FEW_EVALUATIONS, _NUM_CALLS = 10, 20
"""Of samplers with few evaluations so many plans are timed in each turn, of others one."""
_NUM_EXAMPLES, _EXAMPLE_STRIDE = 4, 4


def make_samplers(
    planners: Planners, num_diffuser_steps: int, guidance_scale: float, generator: torch.Generator
) -> dict[str, SampleFn]:
    """Returns every way to plan, by name.

    Args:
      planners: what was learned.
      num_diffuser_steps: of Diffuser.
      guidance_scale: on the gradient of its guide.
      generator: source of every draw.
    """
    config, device = planners.config, generator.device
    num_steps = config.num_steps

    def diffuse(sampler: str, sigmas: torch.Tensor, guide: PlanReturn | None = None) -> SampleFn:
        scale = 0.0 if guide is None else guidance_scale
        return diffusion_sampler(
            planners.teacher, num_steps, sampler, sigmas.to(device), generator, guide, scale
        )

    edm = karras_sigmas(config.num_levels, config.sigma_min, config.sigma_max)
    ancestral = variance_preserving_sigmas(num_diffuser_steps + 1)
    samplers = {
        DIFFUSER: diffuse("ddpm", ancestral, planners.guide),
        f"{DIFFUSER} without guide": diffuse("ddpm", ancestral),
        TEACHER: diffuse("heun", torch.cat([edm, torch.zeros(1)])),
        "DDPM, 100 steps": diffuse("ddpm", variance_preserving_sigmas(101)),
        "DDIM, 10 steps": diffuse("ddim", variance_preserving_sigmas(11)),
        "DDIM, 1 step": diffuse("ddim", variance_preserving_sigmas(2)),
    }
    for name, student in planners.students.items():
        for num_jumps, sigmas in _STUDENT_SIGMAS.items():
            label = f"{name}, {num_jumps} jump{'s' if num_jumps > 1 else ''}"
            samplers[label] = jump_sampler(student, num_steps, generator, sigmas)
    return samplers


def run_maze(spec: MazeSpec, folder: Path, note_fn: Callable[[str], None]) -> list[Row]:
    """Trains, plans by every sampler from the same starts, follows the plans and times them.

    Args:
      spec: what to do.
      folder: where what was trained is kept.
      note_fn: takes lines about progress.

    Returns:
      A row for each sampler: `scores` of the episodes on D4RL's scale, `success_rate` (the goal was reached),
      `num_evaluations` of the denoiser or student for a plan and `num_guide_evaluations`, `plan_sec` of each
      turn (cpu-seconds, or those of the clock on a graphics processor), `speed_up` over Diffuser in each
      turn, and for the first seed some plans with the paths that followed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    planners = train_planners(spec, folder, device, note_fn)
    generator = torch.Generator(device).manual_seed(spec.seed)
    samplers = make_samplers(planners, spec.num_diffuser_steps, spec.guidance_scale, generator)
    envs = [make_env(ENV_IDS[spec.layout]) for _ in range(spec.num_episodes)]
    goal = np.array([*goal_cell(spec.layout), 0.0, 0.0])
    evaluations, plan_sec = _time_planning(samplers, planners, spec.num_timings, goal, device)
    reference = REFERENCE_SCORES[f"maze2d-{spec.layout}-v1"]
    rows: list[Row] = []

    def inverse_fn(state: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        return infer_actions(planners.inverse, planners.limits, state, next_state)

    for name, sampler in samplers.items():
        plan_fn = _plan_fn(sampler, planners, device)
        max_steps = MAX_EPISODE_STEPS[spec.layout]
        followed = follow_plans(plan_fn, inverse_fn, envs, goal, max_steps, spec.seed)
        scores = [normalized_score(float(value), reference) for value in followed.returns]
        note_fn(f"  {name}: score {np.mean(scores):.1f}, success {followed.is_reached.mean():.2f}")
        rows.append(
            {
                "layout": spec.layout,
                "seed": spec.seed,
                "method": name,
                "scores": np.round(scores, 2).tolist(),
                "success_rate": float(followed.is_reached.mean()),
                "num_evaluations": evaluations[name][0],
                "num_guide_evaluations": evaluations[name][1],
                "plan_sec": plan_sec[name],
                "speed_up": (np.array(plan_sec[DIFFUSER]) / plan_sec[name]).tolist(),
                "examples": _examples(followed, spec.layout) if spec.seed == 0 else [],
                "training_sec": dict(planners.training_sec),
                "device": str(device),
                "machine": describe_machine(),
            }
        )
    for env in envs:
        env.close()
    return rows


def _plan_fn(sampler: SampleFn, planners: Planners, device: torch.device) -> PlanFn:
    """Returns the function from starts and goals to plans of every step."""

    def plan(start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        states = plan_states(sampler, planners.limits, start, goal, device)
        return interpolate_plans(states, planners.config.stride)

    return plan


def _time_planning(
    samplers: Mapping[str, SampleFn],
    planners: Planners,
    num_timings: int,
    goal: np.ndarray,
    device: torch.device,
) -> tuple[dict[str, tuple[int, int]], dict[str, list[float]]]:
    """Counts evaluations for a plan, and times single plans, samplers taking turns.

    Returns:
      Evaluations of denoiser or student and of the guide, and seconds of each turn, by sampler.
    """
    counts = {"planner": 0, "guide": 0}

    def count(module: nn.Module, key: str) -> Any:
        return module.register_forward_hook(lambda *_: counts.update({key: counts[key] + 1}))

    planning = [planners.teacher.network, *(student.network for student in planners.students.values())]
    hooks = [*(count(module, "planner") for module in planning), count(planners.guide, "guide")]
    start = goal[None] + 1.0  # where planning starts from makes no difference to its time
    evaluations: dict[str, tuple[int, int]] = {}
    for name, sampler in samplers.items():
        counts.update(planner=0, guide=0)
        _plan_fn(sampler, planners, device)(start, goal[None])
        evaluations[name] = (counts["planner"], counts["guide"])
    for hook in hooks:
        hook.remove()
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for _ in range(num_timings):
        for name, sampler in samplers.items():
            num_calls = _NUM_CALLS if evaluations[name][0] <= _FEW_EVALUATIONS else 1
            plan_fn, begin = _plan_fn(sampler, planners, device), clock()
            for _ in range(num_calls):
                plan_fn(start, goal[None])
            seconds[name].append((clock() - begin) / num_calls)
    return evaluations, seconds


def _examples(followed: FollowedPlans, layout: str) -> list[Row]:
    """Returns places of some plans and of the paths that followed, thinned out; far starts come first."""
    walls, goal = wall_map(layout), goal_cell(layout)
    num_cells = [len(shortest_path(walls, cell_of(path[0, :2]), goal)) for path in followed.paths]
    by_distance = np.argsort(num_cells, kind="stable")[::-1]
    chosen = by_distance[np.linspace(0, len(by_distance) - 1, _NUM_EXAMPLES + 1).astype(int)[:-1]]

    def thin(states: np.ndarray) -> list[list[float]]:
        kept = np.unique([*range(0, len(states), _EXAMPLE_STRIDE), len(states) - 1])
        places: list[list[float]] = np.round(states[kept, :2].astype(float), 2).tolist()
        return places

    return [{"plan": thin(followed.plans[i]), "path": thin(followed.paths[i])} for i in chosen]


def run_job(spec: Mapping[str, Any], folder: Path, note_fn: Callable[[str], None]) -> None:
    """Runs a job and leaves its rows in a folder.

    Args:
      spec: fields of `MazeSpec`.
      folder: of the job.
      note_fn: takes lines about progress.
    """
    save_result(folder, spec, run_maze(MazeSpec(**spec), folder, note_fn))
