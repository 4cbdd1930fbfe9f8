"""Samplers: integration of the probability-flow ODE, and multistep consistency sampling."""

import itertools
from collections.abc import Callable
from typing import Literal

import torch

from distill_rl.checks import check_choice

DenoiseFn = Callable[[torch.Tensor, float], torch.Tensor]
"""`(x_sigma [..., A], sigma) -> denoised [..., A]`."""

Solver = Literal["euler", "heun"]


def integrate_probability_flow(
    denoise_fn: DenoiseFn, x_sigma: torch.Tensor, sigmas: torch.Tensor, solver: Solver = "heun"
) -> torch.Tensor:
    """Integrates `dx / dsigma = (x - D(x, sigma)) / sigma` along a grid of noise levels.

    Source: Karras et al. (2022), Alg. 1, without churn. A last level of 0 is reached by an Euler step.

    Args:
      denoise_fn: the denoiser D.
      x_sigma: sample at the first noise level. Shape `[..., A]`.
      sigmas: noise levels to visit, in order. Shape `[K]`.
      solver: `euler` (first order, one call a step) or `heun` (second order, two calls a step).

    Returns:
      The sample at the last noise level. Shape `[..., A]`.

    Raises:
      ValueError: if `solver` is unknown.
    """
    check_choice("solver", solver, ("euler", "heun"))
    levels = sigmas.tolist()
    for sigma, next_sigma in itertools.pairwise(levels):
        slope = (x_sigma - denoise_fn(x_sigma, sigma)) / sigma
        next_x = x_sigma + (next_sigma - sigma) * slope
        if solver == "heun" and next_sigma > 0:
            next_slope = (next_x - denoise_fn(next_x, next_sigma)) / next_sigma
            next_x = x_sigma + (next_sigma - sigma) * 0.5 * (slope + next_slope)
        x_sigma = next_x
    return x_sigma


def sample_multistep(
    consistency_fn: DenoiseFn,
    noise_fn: Callable[[], torch.Tensor],
    sigmas: list[float],
    sigma_min: float,
) -> torch.Tensor:
    """Samples a consistency function, returning to a lower noise level after each step.

    `x = f(s_1 z)`, then for each further level `x = f(x + sqrt(s^2 - s_min^2) z, s)`.
    Source: Song et al. (2023), Alg. 1.

    Args:
      consistency_fn: the consistency function f.
      noise_fn: returns fresh (scaled) unit noise at each call. Shape `[..., A]`.
      sigmas: noise levels, descending, above `sigma_min`.
      sigma_min: noise level of the samples.

    Returns:
      Samples. Shape `[..., A]`.

    Raises:
      ValueError: if there is no level, or one below `sigma_min`.
    """
    if not sigmas or min(sigmas) < sigma_min:
        raise ValueError(f"`sigmas` must be levels from `sigma_min` = {sigma_min} up, got {sigmas}")
    x = consistency_fn(sigmas[0] * noise_fn(), sigmas[0])
    for sigma in sigmas[1:]:
        x = consistency_fn(x + (sigma**2 - sigma_min**2) ** 0.5 * noise_fn(), sigma)
    return x
