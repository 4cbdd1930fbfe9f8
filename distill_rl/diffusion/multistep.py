"""Samplers of one denoiser: ancestral (DDPM), DDIM, Euler, Heun and DPM-Solver++, alike in their call.

All work on `x = clean + sigma z`. A variance-preserving model is the same process divided by `sqrt(1 +
sigma^2)`, so that its samplers are these, on the noise levels that its schedule has.
"""

import itertools
import math
from collections.abc import Callable

import torch

from distill_rl.checks import check_choice
from distill_rl.diffusion.samplers import DenoiseFn, integrate_probability_flow

SAMPLERS = ("ddpm", "ddim", "euler", "heun", "dpm_solver_pp")
"""Names of the samplers.

For `K` levels, the last one 0, they call the denoiser `K - 1` times, and `heun` `2 K - 3` times.
"""


def sample_diffusion(
    sampler: str,
    denoise_fn: DenoiseFn,
    x_sigma: torch.Tensor,
    sigmas: torch.Tensor,
    noise_fn: Callable[[], torch.Tensor] | None = None,
    guide_fn: DenoiseFn | None = None,
) -> torch.Tensor:
    """Samples along a grid of noise levels.

    * `ddpm`: draws from `q(x_next | x, D)`. Source: Ho et al. (2020), Eq. (6) and (7). With a guide its mean
      is `mean + variance guide(mean, s_next)`: Diffuser. Source: Janner et al. (2022), Alg. 1 and Eq. (3).
    * `ddim`: `D + (s_next / s) (x - D)`. Source: Song et al. (2021), "DDIM", Eq. (12) with sigma_t = 0. In
      these coordinates it is `euler`: one formula, two names.
    * `euler`, `heun`: see `integrate_probability_flow`. Source: Karras et al. (2022), Alg. 1.
    * `dpm_solver_pp`: second order, multistep. Source: Lu et al. (2022), "DPM-Solver++", Alg. 2.

    Args:
      sampler: one of `SAMPLERS`.
      denoise_fn: the denoiser D.
      x_sigma: sample at the first noise level. Shape `[..., A]`.
      sigmas: descending noise levels; the last one may be 0. Shape `[K]`.
      noise_fn: returns fresh unit noise at each call, for `ddpm`. Shape `[..., A]`.
      guide_fn: gradient of what samples are to have much of, at a point and its noise level; of the shape of
        the point. For `ddpm`.

    Returns:
      The sample at the last noise level. Shape `[..., A]`.

    Raises:
      ValueError: if the sampler is unknown, `ddpm` gets no noise, or another one gets a guide.
    """
    check_choice("sampler", sampler, SAMPLERS)
    if guide_fn is not None and sampler != "ddpm":
        raise ValueError(f"`guide_fn` must be None for the sampler {sampler}: only ddpm is guided")
    if sampler == "ddpm":
        if noise_fn is None:
            raise ValueError("`noise_fn` must be given for the sampler ddpm, got None")
        return _sample_ancestral(denoise_fn, x_sigma, sigmas, noise_fn, guide_fn)
    if sampler == "dpm_solver_pp":
        return _sample_dpm_solver(denoise_fn, x_sigma, sigmas)
    return integrate_probability_flow(denoise_fn, x_sigma, sigmas, "heun" if sampler == "heun" else "euler")


def variance_preserving_sigmas(
    num_levels: int, beta_min: float = 0.1, beta_max: float = 20.0
) -> torch.Tensor:
    """Returns the noise levels of a schedule of linear beta, descending, with a last one of 0.

    `sigma(t)^2 = exp(beta_min t + (beta_max - beta_min) t^2 / 2) - 1` at `K - 1` even times from 1 on.
    Source: Song et al. (2021), "Score-based generative modeling", Appendix B; Karras et al. (2022), Table 1.

    Args:
      num_levels: `K`, at least 2.
      beta_min: rate of noise at the start.
      beta_max: rate of noise at the end.

    Returns:
      Shape `[K]`.

    Raises:
      ValueError: if there are fewer than two levels.
    """
    if num_levels < 2:
        raise ValueError(f"`num_levels` must be at least 2, got {num_levels}")
    t = torch.linspace(1.0, 0.0, num_levels, dtype=torch.float64)
    return torch.expm1(beta_min * t + 0.5 * (beta_max - beta_min) * t**2).sqrt().float()


def _sample_ancestral(
    denoise_fn: DenoiseFn,
    x_sigma: torch.Tensor,
    sigmas: torch.Tensor,
    noise_fn: Callable[[], torch.Tensor],
    guide_fn: DenoiseFn | None,
) -> torch.Tensor:
    for sigma, next_sigma in itertools.pairwise(sigmas.tolist()):
        denoised = denoise_fn(x_sigma, sigma)
        ratio = (next_sigma / sigma) ** 2
        x_sigma = denoised + ratio * (x_sigma - denoised)
        if next_sigma > 0.0:
            scale = next_sigma * math.sqrt(1.0 - ratio)
            if guide_fn is not None:
                x_sigma = x_sigma + scale**2 * guide_fn(x_sigma, next_sigma)
            x_sigma = x_sigma + scale * noise_fn()
    return x_sigma


def _sample_dpm_solver(denoise_fn: DenoiseFn, x_sigma: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    before: torch.Tensor | None = None
    log_step_before = 0.0
    for sigma, next_sigma in itertools.pairwise(sigmas.tolist()):
        denoised = denoise_fn(x_sigma, sigma)
        if next_sigma == 0.0:
            return denoised
        log_step = math.log(sigma / next_sigma)
        guess = denoised
        if before is not None:
            guess = denoised + 0.5 * (log_step / log_step_before) * (denoised - before)
        x_sigma = (next_sigma / sigma) * x_sigma - math.expm1(-log_step) * guess
        before, log_step_before = denoised, log_step
    return x_sigma
