"""Consistency training with a posterior estimate in place of the single source sample."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from distill_rl.diffusion.schedules import karras_sigmas, num_levels_at
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.posterior import POSTERIORS, NoisyReference, Posterior, sample_source


@dataclasses.dataclass(frozen=True)
class ConsistencyObjective:
    """Matches `D` at two neighbouring noise levels of one trajectory of the reference set's ODE.

    `d(D(x_{n+1}, s_{n+1}), D_target(x_n, s_n))` with `x_{n+1} = x + s_{n+1} z` and `x_n` one solver step
    along `(x_{n+1} - mu_hat) / s_{n+1}`. With the posterior `single_sample` and Euler this is plain
    consistency training; with a posterior mean, which is available at every point, Heun's step makes it
    consistency distillation without a teacher. Source: Fang & Di, Appendix A.1; Song et al. (2023), Alg. 3.

    Attributes:
      posterior: estimator of `E[x | x_sigma]`.
      num_noises: noises for each state.
      num_noise_levels: levels of the Karras grid; None for the adaptive schedule N(k).
      schedule_updates: updates until the adaptive schedule ends.
      is_heun: Heun's step instead of Euler's.
      is_pseudo_huber: `sqrt(|d|^2 + c^2) - c` instead of `|d|^2`, with `c = 0.00054 sqrt(A)` (Song and
        Dhariwal, 2024).
    """

    posterior: Posterior
    num_noises: int = 1
    num_noise_levels: int | None = 10
    schedule_updates: int = 100_000
    is_heun: bool = False
    is_pseudo_huber: bool = False

    @classmethod
    def from_config(cls, config: DistillationConfig) -> "ConsistencyObjective":
        """Builds the objective from the fields of a configuration."""
        return cls(
            POSTERIORS[config.posterior],
            config.num_noises,
            config.num_noise_levels if config.noise_level_schedule == "fixed" else None,
            config.schedule_updates,
            config.ode_solver == "heun",
            config.distance == "pseudo_huber",
        )

    def __call__(
        self,
        policy: ConsistencyPolicy,
        target_policy: ConsistencyPolicy,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the mean distance between neighbours; see `Objective`."""
        reference = (batch.actions, batch.log_probs, batch.log_proposals)
        observation = batch.observation.unsqueeze(1)
        source = sample_source(*reference, self.num_noises, generator)  # [B, K, A]
        num_levels = self.num_noise_levels or num_levels_at(update, self.schedule_updates)
        grid = karras_sigmas(num_levels, policy.sigma_min, policy.sigma_max).to(source.device)
        level = torch.randint(num_levels - 1, source.shape[:2], generator=generator, device=source.device)
        sigma, next_sigma = grid[level], grid[level + 1]  # the grid descends: s_{n+1}, s_n
        noise = torch.randn(source.shape, generator=generator, device=source.device)
        x_sigma = source + sigma.unsqueeze(-1) * noise

        def posterior_fn(x: Tensor, level_sigma: Tensor) -> Tensor:
            return self.posterior(NoisyReference(*reference, x, level_sigma, source, generator))

        with torch.no_grad():
            next_x = ode_step(posterior_fn, x_sigma, sigma, next_sigma, is_heun=self.is_heun)
            target = target_policy.denoise(next_x, next_sigma, observation)
        squared = (policy.denoise(x_sigma, sigma, observation) - target).square().sum(dim=-1)
        if not self.is_pseudo_huber:
            return squared.mean()
        c = 0.00054 * math.sqrt(source.shape[-1])
        return ((squared + c**2).sqrt() - c).mean()


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
