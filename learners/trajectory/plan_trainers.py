"""The gradient steps of planners: teacher, guide, reward model, student. No Ray.

Sources: Duan et al. (2025), RACTD, Section 4.2; Janner et al. (2022), "Planning with diffusion for flexible
behavior synthesis".
"""

import torch
from torch import Tensor, nn

from distill_rl.checks import check_shape
from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.networks.plan_networks import PlanReturn, PlanUNet
from distill_rl.networks.reward import RewardModel
from distill_rl.networks.trajectory_networks import warm_start
from distill_rl.policies.state_plans import PlanDenoiser, PlanJumper
from learners.network_trainer import NetworkTrainer
from learners.trajectory.losses import add_noise, denoising_loss, lognormal_sigmas
from learners.trajectory.plan_config import PlanConfig
from learners.trajectory.plan_windows import PlanBatch
from learners.trajectory.trainers import distillation_losses, frozen, frozen_reward_model


class _PlanTrainer(NetworkTrainer[PlanBatch]):
    """What the stages share.

    Args:
      state_size: `S`.
      config: what to learn and how.
      seed: of the initial weights and of every later draw.
      device: where the networks live.
    """

    def __init__(self, state_size: int, config: PlanConfig, seed: int, device: str | torch.device = "cpu"):
        self.config = config
        self._state_size = state_size
        super().__init__(config, seed, device)

    def _unet(self, num_noise_inputs: int) -> PlanUNet:
        return PlanUNet(self._state_size, num_noise_inputs, **self.config.unet_settings)


class GoalRewardTrainer(_PlanTrainer):
    """Fits `R(s, goal)` to `goal_return`; the metric is `reward_loss`."""

    def _make_networks(self) -> nn.Module:
        return RewardModel(self._state_size, self._state_size, self.config.reward_hidden_sizes)

    def _losses(self, batch: PlanBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        predicted = goal_rewards(self.online, batch.plan)
        check_shape("goal_return", batch.goal_return, tuple(predicted.shape))
        return {"reward_loss": (predicted - batch.goal_return).square().mean()}, {"reward_loss": 1.0}


class PlanTeacherTrainer(_PlanTrainer):
    """Trains the denoiser of plans; the metric is `denoising_loss`."""

    def _make_networks(self) -> nn.Module:
        return PlanDenoiser(self._unet(1), self.config.sigma_data)

    def _losses(self, batch: PlanBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        loss = denoising_loss(self.online, batch.plan, batch.ends, self._generator)
        return {"denoising_loss": loss}, {"denoising_loss": 1.0}


class PlanGuideTrainer(_PlanTrainer):
    """Fits the guide of Diffuser to the mean `goal_return` of noisy plans; the metric is `guide_loss`."""

    def _make_networks(self) -> nn.Module:
        config = self.config
        settings = config.unet_settings | {"level_sizes": config.guide_level_sizes}
        return PlanReturn(self._state_size, config.sigma_data, **settings)

    def _losses(self, batch: PlanBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        sigma = lognormal_sigmas(batch.plan, self._generator)
        noisy = add_noise(batch.plan, sigma, self._generator)
        error = self.online(noisy, sigma, batch.ends) - batch.goal_return.mean(dim=1)
        return {"guide_loss": error.square().mean()}, {"guide_loss": 1.0}


class PlanStudentTrainer(_PlanTrainer):
    """Distils a planner, and climbs the reward of the states of its plans. Source: RACTD, Eq. (9).

    Metrics are `trajectory_loss`, `denoising_loss` and, with a weight, `return_loss`. Without one it is
    consistency trajectory distillation alone (CTD).

    Args:
      state_size: `S`.
      config: what to learn and how.
      seed: of every draw.
      device: where the networks live.
      teacher: the averaged denoiser; never changed.
      reward_model: needed where `reward_weight` is not 0; never changed.

    Raises:
      ValueError: if there is no reward model to climb.
    """

    def __init__(
        self,
        state_size: int,
        config: PlanConfig,
        seed: int,
        device: str | torch.device = "cpu",
        *,
        teacher: PlanDenoiser,
        reward_model: RewardModel | None = None,
    ):
        self._teacher = frozen(teacher)
        self._reward_model = frozen_reward_model(reward_model, "reward_weight", config.reward_weight)
        super().__init__(state_size, config, seed, device)
        self._sigmas = karras_sigmas(config.num_levels, config.sigma_min, config.sigma_max).to(self.device)

    def _make_networks(self) -> nn.Module:
        config, network = self.config, self._unet(2)
        warm_start(network, self._teacher.network)
        return PlanJumper(network, config.sigma_data, config.sigma_min, config.sigma_max)

    def _losses(self, batch: PlanBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        config, plan, ends, generator = self.config, batch.plan, batch.ends, self._generator
        losses, weights = distillation_losses(
            self.online, self._teacher, plan, ends, config=config, sigmas=self._sigmas, generator=generator
        )
        if self._reward_model is not None:
            noise = torch.randn(plan.shape, generator=generator, device=self.device)
            drawn = self.online.sample(noise, ends)
            # Rewards lie in [0, 1]: to climb what is predicted beyond leads away from plans.
            losses["return_loss"] = -goal_rewards(self._reward_model, drawn).clamp(0.0, 1.0).mean()
            weights["return_loss"] = config.reward_weight
        return losses, weights


def goal_rewards(reward_model: RewardModel, plan: Tensor) -> Tensor:
    """Predicts the reward of every state of plans, given their last one as the goal.

    Args:
      reward_model: `R(s, goal)`.
      plan: shape `[B, T, S]`.

    Returns:
      Shape `[B, T]`.
    """
    rewards: Tensor = reward_model(plan, plan[:, -1:].expand_as(plan))
    return rewards
