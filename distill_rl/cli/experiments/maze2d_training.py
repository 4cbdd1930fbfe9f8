"""Learning to plan in a maze: data, inverse dynamics, teacher, guide, reward model, students."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from actors.waypoints import collect_maze
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.state_limits import StateLimits
from distill_rl.envs import make_env
from distill_rl.envs.maze2d import ENV_IDS
from distill_rl.networks.plan_networks import InverseDynamics, PlanReturn
from distill_rl.policies.state_plans import PlanDenoiser, PlanJumper
from learners.network_trainer import NetworkTrainer
from learners.trajectory.inverse_dynamics import InverseDynamicsTrainer, StepSampler
from learners.trajectory.plan_config import PlanConfig
from learners.trajectory.plan_trainers import (
    GoalRewardTrainer,
    PlanGuideTrainer,
    PlanStudentTrainer,
    PlanTeacherTrainer,
)
from learners.trajectory.plan_windows import PlanSampler

Batch = TypeVar("Batch")

CTD, RACTD = "CTD", "RACTD"

_STATE_SIZE, _ACTION_SIZE = 4, 2
_INVERSE_BATCH_SIZE = 256


@dataclasses.dataclass(frozen=True)
class MazeSpec:
    """What to learn and how to judge it.

    Attributes:
      layout: of the maze.
      seed: of the data, of what is learned and of the episodes.
      num_data_steps: of the waypoint controller.
      plan: fields of `PlanConfig`.
      inverse_updates: gradient steps of the inverse dynamics.
      teacher_updates: of the denoiser.
      guide_updates: of Diffuser's guide.
      reward_updates: of the reward model.
      student_updates: of each student.
      num_diffuser_steps: of Diffuser.
      guidance_scale: on the gradient of its guide.
      num_episodes: of each way to plan.
      num_timings: plans of each that are timed, by turns.
    """

    layout: str
    seed: int
    num_data_steps: int
    plan: Mapping[str, Any]
    inverse_updates: int
    teacher_updates: int
    guide_updates: int
    reward_updates: int
    student_updates: int
    num_diffuser_steps: int
    guidance_scale: float
    num_episodes: int
    num_timings: int


@dataclasses.dataclass(frozen=True)
class Planners:
    """What was learned.

    Attributes:
      config: how.
      limits: by which states are scaled.
      inverse: inverse dynamics.
      teacher: denoiser.
      guide: of Diffuser.
      students: jumpers by name.
      training_sec: cpu-seconds of each stage.
    """

    config: PlanConfig
    limits: StateLimits
    inverse: InverseDynamics
    teacher: PlanDenoiser
    guide: PlanReturn
    students: Mapping[str, PlanJumper]
    training_sec: Mapping[str, float]


def collect_data(layout: str, num_steps: int, seed: int) -> OfflineDataset:
    """Collects the data of a maze by D4RL's waypoint protocol."""
    env = make_env(ENV_IDS[layout])
    try:
        return collect_maze(env, num_steps, seed, {"name": layout, "source": "own: waypoint controller"})
    finally:
        env.close()


def train_planners(spec: MazeSpec, device: torch.device, note_fn: Callable[[str], None]) -> Planners:
    """Trains every network, each stage from what those before it made.

    Args:
      spec: what to learn.
      device: where.
      note_fn: takes a line about each stage.
    """
    config, seed = PlanConfig(**spec.plan), spec.seed
    dataset = collect_data(spec.layout, spec.num_data_steps, seed)
    limits = StateLimits.of(dataset)
    steps = StepSampler(dataset, limits)
    windows = PlanSampler(
        dataset,
        config.num_steps,
        limits,
        goal_size=config.goal_size,
        goal_radius=config.goal_radius,
        discount=config.discount,
    )
    training_sec: dict[str, float] = {}

    def train(
        name: str, trainer: NetworkTrainer[Batch], draw: Callable[..., Batch], size: int, num_updates: int
    ) -> Any:
        generator, start = np.random.default_rng([seed, len(training_sec)]), time.process_time()
        metrics: dict[str, float] = {}
        for update in range(num_updates):
            trainer.scale_learning_rate(0.5 * (1.0 + math.cos(math.pi * update / num_updates)))
            metrics = trainer.update(draw(size, generator))
        training_sec[name] = time.process_time() - start
        losses = ", ".join(f"{key} {value:.3g}" for key, value in metrics.items() if key.endswith("_loss"))
        note_fn(f"  {name}: {num_updates} updates, {training_sec[name]:.0f} cpu-seconds, {losses}")
        return trainer.ema.eval()

    def train_plans(name: str, trainer: NetworkTrainer[Any], num_updates: int) -> Any:
        return train(name, trainer, windows.sample, config.batch_size, num_updates)

    arguments = (_STATE_SIZE, config, seed, device)
    inverse_trainer = InverseDynamicsTrainer(
        _STATE_SIZE, _ACTION_SIZE, config, seed, device, step_scale=steps.step_scale
    )
    inverse = train(
        "inverse dynamics", inverse_trainer, steps.sample, _INVERSE_BATCH_SIZE, spec.inverse_updates
    )
    teacher = train_plans("teacher", PlanTeacherTrainer(*arguments), spec.teacher_updates)
    guide = train_plans("guide", PlanGuideTrainer(*arguments), spec.guide_updates)
    reward_model = train_plans("reward model", GoalRewardTrainer(*arguments), spec.reward_updates)
    students = {}
    for name, weight in ((CTD, 0.0), (RACTD, config.reward_weight)):
        own = dataclasses.replace(config, reward_weight=weight)
        trainer = PlanStudentTrainer(
            _STATE_SIZE, own, seed, device, teacher=teacher, reward_model=reward_model
        )
        students[name] = train_plans(name, trainer, spec.student_updates)
    return Planners(config, limits, inverse, teacher, guide, students, training_sec)
