"""Denoising towards a posterior estimate (Fang & Di, Alg. 1 and 2)."""

import dataclasses

import torch

from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.objectives.base import Denoiser
from learners.posterior import NoisyReference, Posterior, sample_source


@dataclasses.dataclass(frozen=True)
class DenoisingObjective:
    """Regresses `D(x_sigma, sigma, s)` onto the posterior estimate: `|D(x + sigma z) - mu_hat|^2`.

    Source: Fang & Di, Alg. 1 (`importance`) and Alg. 2 (`gumbel`), as printed: noise levels uniform over the
    grid, no weighting. A denoiser's one-step sample is the mean of p*; draw from it by its ODE.

    Attributes:
      posterior: estimator of `E[x | x_sigma]`.
      num_noises: noises for each state.
      num_noise_levels: levels of the Karras grid.
    """

    posterior: Posterior
    num_noises: int = 1
    num_noise_levels: int = 10

    @classmethod
    def from_config(cls, config: DistillationConfig, posterior: Posterior) -> "DenoisingObjective":
        """Builds the objective from the fields of a configuration and the estimator that it names."""
        return cls(posterior, config.num_noises, config.num_noise_levels)

    def __call__(
        self,
        policy: Denoiser,
        target_policy: Denoiser,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Computes the mean squared distance to the estimates; see `Objective`. Shape `[]`."""
        del target_policy, update
        reference = (batch.actions, batch.log_probs, batch.log_proposals)
        source = sample_source(*reference, self.num_noises, generator)  # [B, K, A]
        grid = karras_sigmas(self.num_noise_levels, policy.sigma_min, policy.sigma_max).to(source.device)
        level = torch.randint(len(grid), source.shape[:2], generator=generator, device=source.device)
        sigma = grid[level]
        noise = torch.randn(source.shape, generator=generator, device=source.device)
        x_sigma = source + sigma.unsqueeze(-1) * noise
        estimate = self.posterior(NoisyReference(*reference, x_sigma, sigma, source, generator))
        denoised = policy.denoise(x_sigma, sigma, batch.observation.unsqueeze(1))
        return (denoised - estimate).square().sum(dim=-1).mean()
