"""Noise levels, and the schedules of consistency training.

Sources: Karras et al. (2022), Eq. (5); Song et al. (2023), "Consistency models", Appendix C; Song and
Dhariwal (2024), "Improved techniques for training consistency models"; Geng et al. (2024), "Consistency
models made easy".
"""

import math

import torch

from distill_rl.checks import check_positive


def check_noise_levels(sigma_min: float, sigma_max: float) -> None:
    """Checks the smallest and the largest noise level.

    Raises:
      ValueError: if one is not positive and finite, or they are not in order.
    """
    check_positive("sigma_min", sigma_min)
    if not sigma_min < sigma_max:
        raise ValueError(f"`sigma_max` must exceed `sigma_min` = {sigma_min}, got {sigma_max}")
    check_positive("sigma_max", sigma_max)


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
    check_noise_levels(sigma_min, sigma_max)
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


def improved_num_levels_at(
    update: int, total_updates: int, start_intervals: int = 10, end_intervals: int = 1280
) -> int:
    """Returns the number of noise levels of improved consistency training (iCT) at update k of K.

    `N(k) = min(s0 2^floor(k / K'), s1) + 1` with `K' = floor(K / (log2 floor(s1 / s0) + 1))`.
    Source: Song and Dhariwal (2024), Section 3.4.

    Args:
      update: `k`, from 0.
      total_updates: `K`, at least 1.
      start_intervals: `s0`.
      end_intervals: `s1`.
    """
    num_stages = int(math.log2(end_intervals // start_intervals)) + 1
    stage = min(update // max(1, total_updates // num_stages), num_stages - 1)
    return min(start_intervals * 2**stage, end_intervals) + 1


def lognormal_level_probs(sigmas: torch.Tensor, log_mean: float, log_scale: float) -> torch.Tensor:
    """Returns the probability of each interval of a grid under a lognormal distribution of noise levels.

    `p_i ~ erf((ln s_i - m) / (sqrt(2) c)) - erf((ln s_{i+1} - m) / (sqrt(2) c))` on a descending grid.
    Source: Song and Dhariwal (2024), Section 3.5.

    Args:
      sigmas: noise levels, descending. Shape `[n]`.
      log_mean: `m`, mean of the logarithm.
      log_scale: `c`, its standard deviation.

    Returns:
      Probabilities that sum to one. Shape `[n - 1]`.
    """
    edges = torch.special.erf((sigmas.double().log() - log_mean) / (math.sqrt(2.0) * log_scale))
    mass = edges[:-1] - edges[1:]
    return (mass / mass.sum()).float()


def easy_next_sigma(
    sigma: torch.Tensor, update: int, total_updates: int, num_stages: int = 8, base: float = 2.0
) -> torch.Tensor:
    """Returns the lower level that easy consistency tuning (ECT) compares with, at update k of K.

    `r = s max(0, 1 - n(s) / q^j)` with `n(s) = 1 + 8 sigmoid(-s)` and `j = 1 + floor(k num_stages / K)`: the
    first stages take `r = 0`, the data themselves; each stage halves the distance. Source: Geng et al.
    (2024), Section 3.2, with the constants of its code.

    Args:
      sigma: upper level. Any shape.
      update: `k`, from 0.
      total_updates: `K`, at least 1.
      num_stages: stages in `K` updates; the last one stays.
      base: `q`.

    Returns:
      Lower level, at least 0. Shape of `sigma`.
    """
    stage = min(update * num_stages // total_updates, num_stages - 1)
    nearness = (1.0 + 8.0 * torch.sigmoid(-sigma)) / base ** (stage + 1)
    return sigma * (1.0 - nearness).clamp_min(0.0)
