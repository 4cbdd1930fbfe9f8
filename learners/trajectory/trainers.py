"""The gradient steps of the three stages: teacher, reward model, student. No Ray."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from distill_rl.checks import check_shape
from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.networks.reward import RewardModel
from distill_rl.networks.trajectory_networks import ConditionedUNet, warm_start
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper
from learners.policy_trainer import PolicyTrainer
from learners.trajectory.chunks import ChunkBatch
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.losses import (
    add_noise,
    consistency_trajectory_loss,
    denoising_loss,
    lognormal_sigmas,
    student_denoising_loss,
)

Module = TypeVar("Module", bound=nn.Module)


class _ChunkTrainer(PolicyTrainer[ChunkBatch, TrajectoryConfig]):
    """What the stages share; see `PolicyTrainer` for the arguments."""

    def _unet(self, num_noise_inputs: int) -> ConditionedUNet:
        return ConditionedUNet(*self._sizes, num_noise_inputs, **self.config.unet_settings)


class RewardTrainer(_ChunkTrainer):
    """Fits the reward model to returns to go; metrics are `reward_loss`."""

    def _make_networks(self) -> nn.Module:
        return RewardModel(*self._sizes, hidden_sizes=self.config.reward_hidden_sizes)

    def _losses(self, batch: ChunkBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        predicted = self.online(batch.observation, batch.actions[:, 0])
        check_shape("return_to_go", batch.return_to_go, tuple(predicted.shape))
        return {"reward_loss": (predicted - batch.return_to_go).square().mean()}, {"reward_loss": 1.0}


class TeacherTrainer(_ChunkTrainer):
    """Trains the denoiser; metrics are `denoising_loss`, and `return_loss` if it is told of rewards.

    Args:
      reward_model: needed where `teacher_reward_weight` is not 0; never changed.

    Raises:
      ValueError: if there is no reward model to climb.
    """

    def __init__(self, *arguments: Any, reward_model: RewardModel | None = None, **options: Any):
        super().__init__(*arguments, **options)
        self._reward_model = frozen_reward_model(
            reward_model, "teacher_reward_weight", self.config.teacher_reward_weight
        )

    def _make_networks(self) -> nn.Module:
        return TrajectoryDenoiser(self._unet(1), self.config.sigma_data)

    def _losses(self, batch: ChunkBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        loss = denoising_loss(self.online, batch.actions, batch.observation, self._generator)
        losses, weights = {"denoising_loss": loss}, {"denoising_loss": 1.0}
        if self._reward_model is not None:
            sigma = lognormal_sigmas(batch.actions, self._generator)
            noisy = add_noise(batch.actions, sigma, self._generator)
            denoised = self.online.denoise(noisy, sigma, batch.observation)
            losses["return_loss"] = return_loss(self._reward_model, batch.observation, denoised)
            weights["return_loss"] = self.config.teacher_reward_weight
        return losses, weights


class StudentTrainer(_ChunkTrainer):
    """Distils a teacher, and climbs the reward model. Source: Duan et al. (2025), RACTD, Eq. (9).

    Metrics are `trajectory_loss`, `denoising_loss` and, with a weight, `return_loss`.

    Args:
      teacher: the averaged denoiser; never changed.
      reward_model: needed where `reward_weight` is not 0; never changed.

    Raises:
      ValueError: if there is no reward model to climb.
    """

    def __init__(
        self,
        *arguments: Any,
        teacher: TrajectoryDenoiser,
        reward_model: RewardModel | None = None,
        **options: Any,
    ):
        self._teacher = frozen(teacher)
        super().__init__(*arguments, **options)
        config = self.config
        self._reward_model = frozen_reward_model(reward_model, "reward_weight", config.reward_weight)
        self._sigmas = karras_sigmas(config.num_levels, config.sigma_min, config.sigma_max).to(self.device)

    def _make_networks(self) -> nn.Module:
        config = self.config
        network = self._unet(2)
        warm_start(network, self._teacher.network)
        return TrajectoryJumper(network, config.sigma_data, config.sigma_min, config.sigma_max)

    def _losses(self, batch: ChunkBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        config, generator = self.config, self._generator
        losses, weights = distillation_losses(
            self.online,
            self._teacher,
            batch.actions,
            batch.observation,
            config=config,
            sigmas=self._sigmas,
            generator=generator,
        )
        if self._reward_model is not None:
            noise = torch.randn(batch.actions.shape, generator=generator, device=self.device)
            drawn = self.online.sample(noise, batch.observation)
            losses["return_loss"] = return_loss(self._reward_model, batch.observation, drawn)
            weights["return_loss"] = config.reward_weight
        return losses, weights


def frozen(module: Module) -> Module:
    """Returns a copy that no gradient step changes."""
    return copy.deepcopy(module).requires_grad_(False).eval()


def frozen_reward_model(model: RewardModel | None, weight_name: str, weight: float) -> RewardModel | None:
    """Returns a copy of the reward model that no gradient step changes; None where rewards weigh nothing.

    Raises:
      ValueError: if they weigh something and there is no model.
    """
    if weight == 0.0:
        return None
    if model is None:
        raise ValueError(f"`reward_model` must be given for a {weight_name} above 0, got None")
    return frozen(model)


def distillation_losses(
    student: TrajectoryJumper,
    teacher: TrajectoryDenoiser,
    clean: Tensor,
    condition: Tensor,
    *,
    config: TrajectoryConfig,
    sigmas: Tensor,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Returns the losses of a student that rewards have no part in, and their weights, by name.

    Args:
      student: learns.
      teacher: never changed.
      clean: trajectories. Shape `[B, T, D]`.
      condition: shape `[B, C]`.
      config: weights, and steps of the teacher.
      sigmas: noise levels, descending. Shape `[K]`.
      generator: source of every draw.

    Returns:
      `trajectory_loss` and `denoising_loss`, each of shape `[]`, and the weight of each.
    """
    losses = {
        "trajectory_loss": consistency_trajectory_loss(
            student,
            teacher,
            clean,
            condition,
            sigmas=sigmas,
            num_solver_steps=config.num_solver_steps,
            generator=generator,
        ),
        "denoising_loss": student_denoising_loss(student, clean, condition, generator),
    }
    return losses, {"trajectory_loss": config.trajectory_weight, "denoising_loss": config.denoising_weight}


def return_loss(reward_model: RewardModel, observation: Tensor, actions: Tensor) -> Tensor:
    """Returns `-mean R(s, a_0)` of the first actions of sequences. Source: RACTD, Eq. (8).

    Actions are clipped to [-1, 1], as they are when they act: beyond there is no data that the model knows.

    Args:
      reward_model: as it is.
      observation: shape `[B, O]`.
      actions: differentiable. Shape `[B, T, A]`.

    Returns:
      Shape `[]`.
    """
    return -reward_model(observation, actions[:, 0].clamp(-1.0, 1.0)).mean()
