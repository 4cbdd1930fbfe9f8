"""Learning to plan in a maze: data, inverse dynamics, teacher, guide, reward model, students."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import nn

from actors.waypoints import collect_maze
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.state_limits import StateLimits
from distill_rl.envs import make_env
from distill_rl.envs.maze2d import ENV_IDS
from distill_rl.networks.plan_networks import InverseDynamics, PlanReturn
from distill_rl.policies.state_plans import PlanDenoiser, PlanJumper
from distill_rl.storage import atomic
from learners.network_trainer import NetworkTrainer
from learners.trajectory.inverse_dynamics import InverseDynamicsTrainer, StepBatch, StepSampler
from learners.trajectory.plan_config import PlanConfig
from learners.trajectory.plan_trainers import (
    GoalRewardTrainer,
    PlanGuideTrainer,
    PlanStudentTrainer,
    PlanTeacherTrainer,
)
from learners.trajectory.plan_windows import PlanBatch, PlanSampler

Batch = TypeVar("Batch")

CTD, RACTD = "CTD", "RACTD"

_STATE_SIZE, _ACTION_SIZE = 4, 2
_INVERSE_BATCH_SIZE = 256
_STAGES, _WEIGHTS, _STAGE = "stages", "weights.safetensors", "stage.json"
_STUDENT_FIELDS = ("reward_weight", "trajectory_weight", "denoising_weight", "num_solver_steps")
"""Fields of `PlanConfig` that students alone depend on."""


@dataclasses.dataclass(frozen=True)
class MazeSpec:
    """What to learn and how to judge it.

    Attributes:
      layout: of the maze.
      seed: of the data, of what is learned and of the episodes.
      num_data_steps: of the waypoint controller.
      plan: fields of `PlanConfig`.
      student: those that students have of their own.
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
    student: Mapping[str, Any]
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


def train_planners(
    spec: MazeSpec, folder: Path, device: torch.device, note_fn: Callable[[str], None]
) -> Planners:
    """Trains every network, each stage from what those before it made.

    A stage that is there, of the same data, settings and updates, is not trained again: one teacher and one
    reward model serve several students.

    Args:
      spec: what to learn.
      folder: where the stages are kept.
      device: where they are trained.
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
        stride=config.stride,
        goal_size=config.goal_size,
        goal_radius=config.goal_radius,
        discount=config.discount,
    )
    stages = _Stages(spec, folder / _STAGES, note_fn)

    def draw_steps(generator: np.random.Generator) -> StepBatch:
        return steps.sample(_INVERSE_BATCH_SIZE, generator)

    def draw_plans(generator: np.random.Generator) -> PlanBatch:
        return windows.sample(config.batch_size, generator)

    arguments = (_STATE_SIZE, config, seed, device)
    inverse_trainer = InverseDynamicsTrainer(
        _STATE_SIZE, _ACTION_SIZE, config, seed, device, step_scale=steps.step_scale
    )
    inverse = stages.get("inverse dynamics", inverse_trainer, draw_steps, spec.inverse_updates)
    teacher = stages.get("teacher", PlanTeacherTrainer(*arguments), draw_plans, spec.teacher_updates)
    guide = stages.get("guide", PlanGuideTrainer(*arguments), draw_plans, spec.guide_updates)
    reward_model = stages.get("reward model", GoalRewardTrainer(*arguments), draw_plans, spec.reward_updates)
    students = {}
    for name, weight in ((CTD, 0.0), (RACTD, config.reward_weight)):
        own = dataclasses.replace(config, **spec.student, reward_weight=weight)
        trainer = PlanStudentTrainer(
            _STATE_SIZE, own, seed, device, teacher=teacher, reward_model=reward_model
        )
        students[name] = stages.get(name, trainer, draw_plans, spec.student_updates, own)
    return Planners(config, limits, inverse, teacher, guide, students, stages.training_sec)


class _Stages:
    """Trains stages, or loads those that are there."""

    def __init__(self, spec: MazeSpec, folder: Path, note_fn: Callable[[str], None]):
        self._spec, self._folder, self._note_fn = spec, folder, note_fn
        self.training_sec: dict[str, float] = {}

    def get(
        self,
        name: str,
        trainer: NetworkTrainer[Batch],
        draw_fn: Callable[[np.random.Generator], Batch],
        num_updates: int,
        student_config: PlanConfig | None = None,
    ) -> Any:
        """Returns the averaged networks of a stage, after steps whose sizes fall along a cosine.

        Args:
          name: of the stage.
          trainer: fresh.
          draw_fn: draws batches.
          num_updates: gradient steps.
          student_config: of a student.
        """
        generator = np.random.default_rng([self._spec.seed, len(self.training_sec)])
        key = _stage_key(self._spec, num_updates, student_config)
        path = self._folder / name.replace(" ", "_")
        known_sec = _load_stage(path, key, trainer.ema)
        if known_sec is not None:
            self.training_sec[name] = known_sec
            self._note_fn(f"  {name}: already there")
            return trainer.ema.eval()
        start = time.process_time()
        metrics: dict[str, float] = {}
        for _ in range(num_updates):
            trainer.decay_learning_rate(num_updates)
            metrics = trainer.update(draw_fn(generator))
        self.training_sec[name] = time.process_time() - start
        _save_stage(path, key, trainer.ema, self.training_sec[name])
        losses = ", ".join(f"{key} {value:.3g}" for key, value in metrics.items() if key.endswith("_loss"))
        self._note_fn(f"  {name}: {num_updates} updates, {self.training_sec[name]:.0f} cpu-seconds, {losses}")
        return trainer.ema.eval()


def _stage_key(spec: MazeSpec, num_updates: int, student_config: PlanConfig | None) -> dict[str, Any]:
    """Returns what a stage depends on, as plain JSON values."""
    plan = dataclasses.asdict(student_config or PlanConfig(**spec.plan))
    key = {
        "layout": spec.layout,
        "seed": spec.seed,
        "num_data_steps": spec.num_data_steps,
        "num_updates": num_updates,
        "plan": plan,
    }
    if student_config is not None:
        key["teacher_updates"] = spec.teacher_updates
        if student_config.reward_weight > 0.0:
            key["reward_updates"] = spec.reward_updates
    else:
        key["plan"] = {name: value for name, value in plan.items() if name not in _STUDENT_FIELDS}
    as_json: dict[str, Any] = json.loads(json.dumps(key))
    return as_json


def _load_stage(stage: Path, key: Mapping[str, Any], network: nn.Module) -> float | None:
    """Loads the weights of a stage; returns the seconds that it took, or None if it is not there."""
    if not (stage / _STAGE).is_file():
        return None
    saved = json.loads((stage / _STAGE).read_text(encoding="utf-8"))
    if saved["key"] != key:
        return None
    safetensors.torch.load_model(network, stage / _WEIGHTS)
    return float(saved["training_sec"])


def _save_stage(stage: Path, key: Mapping[str, Any], network: nn.Module, training_sec: float) -> None:
    stage.parent.mkdir(parents=True, exist_ok=True)
    with atomic.new_folder(stage) as folder:
        safetensors.torch.save_model(network, str(folder / _WEIGHTS))
        content = json.dumps({"key": key, "training_sec": training_sec})
        (folder / _STAGE).write_text(content + "\n", encoding="utf-8")
