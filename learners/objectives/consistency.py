"""Consistency training with a posterior estimate in place of the single source sample."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.objectives.base import Denoiser
from learners.objectives.noise_levels import PairSampler, easy_pairs, improved_pairs, karras_pairs
from learners.posterior import NoisyReference, Posterior, sample_source


@dataclasses.dataclass(frozen=True)
class ConsistencyObjective:
    """Matches `D` at two neighbouring noise levels of one trajectory of the reference set's ODE.

    `d(D(x_{n+1}, s_{n+1}), D_target(x_n, s_n))` with `x_{n+1} = x + s_{n+1} z` and `x_n` one solver step
    along `(x_{n+1} - mu_hat) / s_{n+1}`. With the posterior `single_sample` and Euler this is plain
    consistency training; with a posterior mean, which is available at every point, Heun's step makes it
    consistency distillation without a teacher. Source: Fang & Di, Appendix A.1; Song et al. (2023), Alg. 3.

    Attributes:
      posterior: estimator of `E[x | x_sigma]`.
      sample_pairs: draws the noise levels, and the weights of the distances.
      num_noises: noises for each state.
      is_heun: Heun's step instead of Euler's.
      is_pseudo_huber: `sqrt(|d|^2 + c^2) - c` instead of `|d|^2`, with `c = 0.00054 sqrt(A)` (Song and
        Dhariwal, 2024, Section 3.3).
      is_self_target: the target is the policy itself without its gradient, not the averaged one (Song and
        Dhariwal, 2024, Section 3.2).
    """

    posterior: Posterior
    sample_pairs: PairSampler
    num_noises: int = 1
    is_heun: bool = False
    is_pseudo_huber: bool = False
    is_self_target: bool = False

    @classmethod
    def from_config(cls, config: DistillationConfig, posterior: Posterior) -> "ConsistencyObjective":
        """Builds the objective from the fields of a configuration and the estimator that it names."""
        samplers = {
            "fixed": karras_pairs(config.num_noise_levels, config.schedule_updates),
            "adaptive": karras_pairs(None, config.schedule_updates),
            "improved": improved_pairs(config.schedule_updates),
            "easy": easy_pairs(config.schedule_updates),
        }
        return cls(
            posterior,
            samplers[config.noise_level_schedule],
            config.num_noises,
            config.ode_solver == "heun",
            config.distance == "pseudo_huber",
            config.noise_level_schedule in ("improved", "easy"),
        )

    def __call__(
        self,
        policy: Denoiser,
        target_policy: Denoiser,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the mean distance between neighbours; see `Objective`. Shape `[]`."""
        reference = (batch.actions, batch.log_probs, batch.log_proposals)
        observation = batch.observation.unsqueeze(1)
        source = sample_source(*reference, self.num_noises, generator)  # [B, K, A]
        sigma, next_sigma, weight = self.sample_pairs(
            tuple(source.shape[:2]), update, policy.sigma_min, policy.sigma_max, generator
        )
        noise = torch.randn(source.shape, generator=generator, device=source.device)
        x_sigma = source + sigma.unsqueeze(-1) * noise

        def posterior_fn(x: Tensor, level_sigma: Tensor) -> Tensor:
            return self.posterior(NoisyReference(*reference, x, level_sigma, source, generator))

        with torch.no_grad():
            next_x = ode_step(posterior_fn, x_sigma, sigma, next_sigma, is_heun=self.is_heun)
            teacher = policy if self.is_self_target else target_policy
            target = teacher.denoise(next_x, next_sigma, observation)
        squared = (policy.denoise(x_sigma, sigma, observation) - target).square().sum(dim=-1)
        if self.is_pseudo_huber:
            c = 0.00054 * math.sqrt(source.shape[-1])
            squared = (squared + c**2).sqrt() - c
        return (weight * squared).mean()


def ode_step(
    posterior_fn: Callable[[Tensor, Tensor], Tensor],
    x_sigma: Tensor,
    sigma: Tensor,
    next_sigma: Tensor,
    *,
    is_heun: bool,
) -> Tensor:
    """Takes one step of `dx / dsigma = (x - mu(x, sigma)) / sigma` between noise levels given for each row.

    Args:
      posterior_fn: the posterior mean, `(x [..., A], sigma [...]) -> [..., A]`.
      x_sigma: shape `[..., A]`.
      sigma: level of `x_sigma`. Shape `[...]`.
      next_sigma: level to reach, > 0. Shape `[...]`.
      is_heun: second order, with a second call at the level reached.

    Returns:
      The point at `next_sigma`. Shape `[..., A]`.
    """
    step = (next_sigma - sigma).unsqueeze(-1)
    slope = (x_sigma - posterior_fn(x_sigma, sigma)) / sigma.unsqueeze(-1)
    next_x = x_sigma + step * slope
    if not is_heun:
        return next_x
    next_slope = (next_x - posterior_fn(next_x, next_sigma)) / next_sigma.unsqueeze(-1)
    return x_sigma + step * 0.5 * (slope + next_slope)
