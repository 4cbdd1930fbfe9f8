"""The gradient steps of the three stages: teacher, reward model, student. No Ray."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.networks.reward import RewardModel
from distill_rl.networks.trajectory_networks import ConditionedUNet, warm_start
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper
from learners.network_trainer import NetworkTrainer
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


class _ChunkTrainer(NetworkTrainer[ChunkBatch]):
    """What the stages share.

    Args:
      observation_size: `O`.
      action_size: `A`.
      config: what to learn and how.
      seed: of the initial weights and of every later draw.
      device: where the networks live.
      average_fn: averages tensors in place over the learners of a group, before anything is decided on.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: TrajectoryConfig,
        seed: int,
        device: str | torch.device = "cpu",
        average_fn: Callable[[list[Tensor]], None] | None = None,
    ):
        self.config = config
        self._sizes = (observation_size, action_size)
        super().__init__(config, seed, device, average_fn)

    def set_statistics(self, mean: Any, var: Any, count: int) -> None:
        """Sets the mean and variance by which observations are normalised. Shapes `[O]`."""
        for networks in (self.online, self.ema):
            for module in networks.modules():
                if hasattr(module, "normalizer"):
                    module.normalizer.mean.copy_(torch.as_tensor(mean))
                    module.normalizer.var.copy_(torch.as_tensor(var))
                    module.normalizer.count.fill_(count)
        self._last_good = self._copy_weights()

    def _to_device(self, batch: ChunkBatch) -> ChunkBatch:
        fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        return ChunkBatch(
            **{
                name: torch.as_tensor(a, dtype=torch.float32, device=self.device)
                for name, a in fields.items()
            }
        )

    def _average_weights(self) -> None:
        torch._foreach_lerp_(self._ema_parameters, self._parameters, 1.0 - self.config.ema_decay)

    def _unet(self, num_noise_inputs: int) -> ConditionedUNet:
        config = self.config
        return ConditionedUNet(
            *self._sizes,
            num_noise_inputs,
            level_sizes=config.level_sizes,
            kernel_size=config.kernel_size,
            embedding_size=config.embedding_size,
        )


class RewardTrainer(_ChunkTrainer):
    """Fits the reward model to returns to go; metrics are `reward_loss`."""

    def _make_networks(self) -> nn.Module:
        return RewardModel(*self._sizes, hidden_sizes=self.config.reward_hidden_sizes)

    def _losses(self, batch: ChunkBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        predicted = self.online(batch.observation, batch.actions[:, 0])
        return {"reward_loss": (predicted - batch.return_to_go).square().mean()}, {"reward_loss": 1.0}


class TeacherTrainer(_ChunkTrainer):
    """Trains the denoiser; metrics are `denoising_loss`, and `return_loss` if it is told of rewards.

    Args:
      reward_model: for a reward-aware teacher (`teacher_reward_weight`); never changed.
    """

    def __init__(self, *arguments: Any, reward_model: RewardModel | None = None, **options: Any):
        super().__init__(*arguments, **options)
        if self.config.teacher_reward_weight > 0.0 and reward_model is None:
            raise ValueError("`reward_model` must be given for a teacher_reward_weight above 0, got None")
        self._reward_model = None if reward_model is None else frozen(reward_model)

    def _make_networks(self) -> nn.Module:
        return TrajectoryDenoiser(self._unet(1), self.config.sigma_data)

    def _losses(self, batch: ChunkBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        loss = denoising_loss(self.online, batch.actions, batch.observation, self._generator)
        losses, weights = {"denoising_loss": loss}, {"denoising_loss": 1.0}
        if self._reward_model is not None and self.config.teacher_reward_weight > 0.0:
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
        self._reward_model = None if reward_model is None else frozen(reward_model)
        super().__init__(*arguments, **options)
        config = self.config
        if config.reward_weight > 0.0 and reward_model is None:
            raise ValueError("`reward_model` must be given for a reward_weight above 0, got None")
        self._sigmas = karras_sigmas(config.num_levels, config.sigma_min, config.sigma_max).to(self.device)

    def _make_networks(self) -> nn.Module:
        config = self.config
        network = self._unet(2)
        warm_start(network, self._teacher.network)
        return TrajectoryJumper(network, config.sigma_data, config.sigma_min, config.sigma_max)

    def _losses(self, batch: ChunkBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        config, generator = self.config, self._generator
        losses = {
            "trajectory_loss": consistency_trajectory_loss(
                self.online,
                self._teacher,
                batch.actions,
                batch.observation,
                sigmas=self._sigmas,
                num_solver_steps=config.num_solver_steps,
                generator=generator,
            ),
            "denoising_loss": student_denoising_loss(
                self.online, batch.actions, batch.observation, generator
            ),
        }
        weights = {"trajectory_loss": config.trajectory_weight, "denoising_loss": config.denoising_weight}
        if self._reward_model is not None and config.reward_weight > 0.0:
            noise = torch.randn(batch.actions.shape, generator=generator, device=self.device)
            drawn = self.online.sample(noise, batch.observation)
            losses["return_loss"] = return_loss(self._reward_model, batch.observation, drawn)
            weights["return_loss"] = config.reward_weight
        return losses, weights


def frozen(module: Module) -> Module:
    """Returns a copy that no gradient step changes."""
    return copy.deepcopy(module).requires_grad_(False).eval()


def return_loss(reward_model: RewardModel, observation: Tensor, actions: Tensor) -> Tensor:
    """Returns `-mean R(s, a_0)` of the first actions of sequences. Source: RACTD, Eq. (8).

    Actions are clipped to [-1, 1], as they are when they act: beyond there is no data that the model knows.

    Args:
      reward_model: as it is.
      observation: shape `[B, O]`.
      actions: differentiable. Shape `[B, T, A]`.
    """
    return -reward_model(observation, actions[:, 0].clamp(-1.0, 1.0)).mean()
