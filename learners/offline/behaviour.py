"""Losses that clone the actions of a dataset, one for each kind of policy."""

from typing import Protocol

import torch
from torch import Tensor

from distill_rl.diffusion.ddpm import add_noise
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy
from distill_rl.policies.kinds import Policy
from distill_rl.types import ReferenceSet
from learners.objectives.consistency import ConsistencyObjective
from learners.objectives.noise_levels import karras_pairs, scaled_by_gap
from learners.offline.config import LearningConfig
from learners.offline.transitions import TransitionBatch
from learners.posterior import single_sample


class BehaviourLoss(Protocol):
    """A loss of a policy on actions that were taken."""

    def __call__(
        self,
        policy: Policy,
        target_policy: Policy,
        batch: TransitionBatch,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the mean loss over the batch. See `Objective` for the arguments. Shape `[]`."""
        ...


def gaussian_loss(
    policy: Policy, target_policy: Policy, batch: TransitionBatch, *, update: int, generator: torch.Generator
) -> Tensor:
    """Returns the mean of `-log pi(a | s)`, in nats. Shape `[]`."""
    del target_policy, update, generator
    assert isinstance(policy, GaussianPolicy)
    return -policy.log_prob(batch.observation, batch.action).mean()


def diffusion_loss(
    policy: Policy, target_policy: Policy, batch: TransitionBatch, *, update: int, generator: torch.Generator
) -> Tensor:
    """Returns the mean squared error of the predicted noise, at uniform steps.

    Source: Ho et al. (2020), Eq. (14); Wang et al. (2023), "Diffusion policies as an expressive policy class
    for offline reinforcement learning", Eq. (2). Shape `[]`.
    """
    del target_policy, update
    assert isinstance(policy, DiffusionPolicy)
    action: Tensor = batch.action
    device = action.device
    step = torch.randint(policy.num_diffusion_steps, action.shape[:1], generator=generator, device=device)
    noise = torch.randn(action.shape, generator=generator, device=device)
    noisy = add_noise(policy.schedule, action, noise, step)
    return (policy.predict_noise(noisy, step, batch.observation) - noise).square().mean()


class ConsistencyLoss:
    """Consistency training on single actions: `w |D(x + s' z, s') - D_target(x + s z, s)|^2 / A`.

    `w = loss_scale / (s' - s)`, and the number of noise levels grows from 2 to 150. Source: Ding & Jin
    (2024), "Consistency models as a rich and efficient policy class for reinforcement learning", whose
    released code restarts the growth every 50,000 updates (`has_curriculum_restarts`).

    Args:
      config: `loss_scale`, `curriculum_updates` and `has_curriculum_restarts` count.
    """

    def __init__(self, config: LearningConfig):
        self._curriculum_updates = config.curriculum_updates
        self._has_restarts = config.has_curriculum_restarts
        pairs = karras_pairs(None, config.curriculum_updates)
        if config.loss_scale is not None:
            pairs = scaled_by_gap(pairs, config.loss_scale)
        self._objective = ConsistencyObjective(single_sample, pairs)

    def __call__(
        self,
        policy: Policy,
        target_policy: Policy,
        batch: TransitionBatch,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the mean loss over the batch and the dimensions of actions. Shape `[]`."""
        loss = self._objective(
            policy,  # type: ignore[arg-type]
            target_policy,  # type: ignore[arg-type]
            _single_action_sets(batch),
            update=update % self._curriculum_updates if self._has_restarts else update,
            generator=generator,
        )
        return loss / batch.action.shape[-1]


def make_behaviour_loss(config: LearningConfig) -> BehaviourLoss:
    """Returns the loss for the kind of policy that is configured."""
    if config.policy == "gaussian":
        return gaussian_loss
    if config.policy == "diffusion":
        return diffusion_loss
    return ConsistencyLoss(config)


def _single_action_sets(batch: TransitionBatch) -> ReferenceSet:
    """Returns reference sets of one action each: the one that was taken."""
    certain = torch.zeros_like(batch.reward).unsqueeze(-1)
    return ReferenceSet(
        observation=batch.observation,
        actions=batch.action[:, None],
        log_probs=certain,
        log_proposals=certain,
        value=batch.reward,
        policy_value=batch.reward,
        policy_version=0,
    )
