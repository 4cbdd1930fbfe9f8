"""Noise levels, and the schedules of consistency training.

Sources: Karras et al. (2022), Eq. (5); Song et al. (2023), Appendix C.
"""

import math

import torch

from distill_rl.checks import check_positive


def karras_sigmas(num_levels: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> torch.Tensor:
    """Returns a grid of noise levels, descending, dense near `sigma_min`.

    `sigma_i = (s_max^(1/rho) + i / (n - 1) (s_min^(1/rho) - s_max^(1/rho)))^rho`.
    Source: Karras et al. (2022), Eq. (5).

    Args:
      num_levels: `n`, at least 2.
      sigma_min: last level.
      sigma_max: first level.
      rho: curvature; 7 in the source.

    Returns:
      Noise levels. Shape `[num_levels]`, float32; both ends exact.

    Raises:
      ValueError: if `num_levels` is below 2 or not `0 < sigma_min < sigma_max`.
    """
    if num_levels < 2:
        raise ValueError(f"`num_levels` must be at least 2, got {num_levels}")
    check_positive("sigma_min", sigma_min)
    if not sigma_min < sigma_max:
        raise ValueError(f"`sigma_max` must exceed `sigma_min` = {sigma_min}, got {sigma_max}")
    fraction = torch.linspace(0.0, 1.0, num_levels, dtype=torch.float64)
    low, high = sigma_min ** (1.0 / rho), sigma_max ** (1.0 / rho)
    sigmas = (high + fraction * (low - high)) ** rho
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    return sigmas.float()


def num_levels_at(update: int, total_updates: int, start_levels: int = 2, end_levels: int = 150) -> int:
    """Returns the number of noise levels N(k) of consistency training at update k of K.

    `N(k) = ceil(sqrt(k / K ((s1 + 1)^2 - s0^2) + s0^2) - 1) + 1`, and N(K) from there on.
    Source: Song et al. (2023), Appendix C.

    Args:
      update: `k`, from 0.
      total_updates: `K`, at least 1.
      start_levels: `s0`.
      end_levels: `s1`.
    """
    progress = min(update / total_updates, 1.0)
    squared = progress * ((end_levels + 1) ** 2 - start_levels**2) + start_levels**2
    return math.ceil(math.sqrt(squared) - 1.0) + 1


def target_decay_at(num_levels: int, start_levels: int = 2, start_decay: float = 0.95) -> float:
    """Returns the decay mu(k) of the target network where `num_levels` is N(k).

    `mu(k) = exp(s0 ln(mu0) / N(k))`. Source: Song et al. (2023), Appendix C.
    """
    return math.exp(start_levels * math.log(start_decay) / num_levels)
