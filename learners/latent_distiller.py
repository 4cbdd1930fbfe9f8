"""The gradient step where searches step a learned model: policy and model learn together. No Ray."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.policies.distill_networks import LatentNetworks
from distill_rl.types import EpisodeSteps, ReferenceSet
from learners.config import DistillationConfig
from learners.distiller import Distiller


class LatentDistiller(Distiller):
    """A `Distiller` whose policy acts in the latent states of a model that it learns from real steps.

    The model is unrolled along each stretch of an episode, from the encoding of its first observation, and at
    every step compared with what was seen:

        sum_h decay^h [ c mean_j (z_h+1 - stop(encode(o_h+1)))_j^2 + r CE(reward_h) + r BCE(termination_h)
                        + v CE(r_h + discount d_h min_q Q(encode(o_h+1), pi(encode(o_h+1)))) ]

    over the sum of the weights `decay^h` of the steps that there are, with the averaged networks in the last
    target. Source: Hansen et al. (2024), "TD-MPC2", Eq. (3) and (4),
    https://arxiv.org/abs/2310.16828. The policy is distilled from reference sets as ever; its loss does not
    reach the encoder.

    Args:
      observation_size: `O`.
      action_size: `A`.
      config: what to distil and how.
      seed: of the initial weights and of every later draw.
      device: where the networks live.
      average_fn: averages tensors in place over the learners of a group, before anything is decided on.
      world_model: settings of the model.
      discount: of one environment step.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: DistillationConfig,
        seed: int,
        device: str | torch.device = "cpu",
        average_fn: Callable[[list[Tensor]], None] | None = None,
        *,
        world_model: WorldModelConfig,
        discount: float,
    ):
        self._world_model = world_model
        self._discount = discount
        super().__init__(observation_size, action_size, config, seed, device, average_fn)

    def _make_networks(self) -> Any:
        return LatentNetworks(*self._sizes, self._world_model, **self._policy_settings())

    def _losses(self, batch: ReferenceSet) -> tuple[dict[str, Tensor], dict[str, float]]:
        if batch.episode_steps is None:
            raise ValueError("`episode_steps` must be given for a learned model, got None")
        self.online.encoder.normalizer.update(batch.observation)
        with torch.no_grad():
            latent = self.online.encode(batch.observation)
        losses = {"policy_loss": self._policy_loss(dataclasses.replace(batch, observation=latent))}
        settings = self._world_model
        weights = {
            "policy_loss": 1.0,
            "consistency_loss": settings.consistency_weight,
            "reward_loss": settings.reward_weight,
            "termination_loss": settings.reward_weight,
            "action_value_loss": settings.action_value_weight,
        }
        return losses | self._model_losses(batch.episode_steps), weights

    def _model_losses(self, steps: EpisodeSteps) -> dict[str, Tensor]:
        model, histogram = self.online.world_model, self.online.world_model.histogram
        with torch.no_grad():
            seen = self.online.encode(steps.observation[:, 1:])
            value = self.ema.value(seen)
            target = steps.reward + self._discount * steps.discount * value
        latents = [self.online.encode(steps.observation[:, 0])]
        for action in steps.action.unbind(dim=1):
            latents.append(model.next_latent(latents[-1], action))
        before, after = torch.stack(latents[:-1], dim=1), torch.stack(latents[1:], dim=1)
        joint = torch.cat([before, steps.action], dim=-1)
        losses = {
            "consistency_loss": (after - seen).square().mean(dim=-1),
            "reward_loss": histogram.cross_entropy(model.reward(joint), steps.reward),
            "termination_loss": functional.binary_cross_entropy_with_logits(
                model.termination(joint)[..., 0], 1.0 - steps.discount, reduction="none"
            ),
            "action_value_loss": histogram.cross_entropy(model.q_logits(before, steps.action), target).mean(
                dim=0
            ),
        }  # [B, H] each
        decay = self._world_model.step_decay ** torch.arange(steps.reward.shape[1], device=self.device)
        weight = steps.is_valid * decay
        total = weight.sum().clamp_min(1.0)
        return {name: (weight * loss).sum() / total for name, loss in losses.items()}
