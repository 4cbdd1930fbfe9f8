"""Consistency training on the actions that were taken, weighted row by row."""

import torch
from torch import Tensor

from learners.objectives.base import Denoiser
from learners.objectives.noise_levels import karras_pairs


def weighted_consistency_loss(
    policy: Denoiser,
    observation: Tensor,
    actions: Tensor,
    weights: Tensor,
    noise: Tensor,
    *,
    num_noise_levels: int,
    generator: torch.Generator,
) -> Tensor:
    """Returns `mean w |D(a + s_{n+1} z, s_{n+1}) - sg D(a + s_n z, s_n)|^2` on a fixed grid.

    Plain consistency training (Song et al. 2023, Alg. 3; Fang & Di, Appendix A.1), unweighted over noise
    levels, with the policy itself as its target (Song & Dhariwal 2024, Section 3.2).

    Args:
      policy: the policy.
      observation: shape `[M, O]`.
      actions: `a`. Shape `[M, A]`.
      weights: `w`, of any sign. Shape `[M]`.
      noise: `z`, unit noise. Shape `[M, A]`.
      num_noise_levels: of the Karras grid.
      generator: of the levels.

    Returns:
      Shape `[]`.
    """
    sample_pairs = karras_pairs(num_noise_levels, 1)
    sigma, next_sigma, _ = sample_pairs((len(actions),), 0, policy.sigma_min, policy.sigma_max, generator)
    with torch.no_grad():
        target = policy.denoise(actions + next_sigma.unsqueeze(-1) * noise, next_sigma, observation)
    denoised = policy.denoise(actions + sigma.unsqueeze(-1) * noise, sigma, observation)
    return (weights * (denoised - target).square().sum(dim=-1)).mean()
