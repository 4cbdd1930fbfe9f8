"""Pairs of neighbouring noise levels that consistency training compares, and how pairs are weighted.

Sources: Song et al. (2023), "Consistency models" (`karras_pairs`); Song and Dhariwal (2024), "Improved
techniques for training consistency models" (`improved_pairs`, iCT); Geng et al. (2024), "Consistency models
made easy" (`easy_pairs`, ECT).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from distill_rl.diffusion.schedules import (
    easy_next_sigma,
    improved_num_levels_at,
    karras_sigmas,
    lognormal_level_probs,
    num_levels_at,
)

_LOG_SIGMA_MEAN, _LOG_SIGMA_SCALE = -1.1, 2.0
"""Of the noise levels drawn by iCT and ECT, for data of standard deviation 0.5."""


class NoisePairs(NamedTuple):
    """Levels `sigma > next_sigma` of each row, and the weight of its distance. Shapes `[B, K]`."""

    sigma: Tensor
    next_sigma: Tensor
    weight: Tensor


PairSampler = Callable[[tuple[int, ...], int, float, float, torch.Generator], NoisePairs]
"""`(shape, update, sigma_min, sigma_max, generator) -> pairs`, on the device of the generator."""


def karras_pairs(num_levels: int | None, schedule_updates: int) -> PairSampler:
    """Returns a sampler of neighbours on the Karras grid, uniform and unweighted.

    Args:
      num_levels: of the grid; None for the schedule N(k) of Song et al. (2023).
      schedule_updates: updates until that schedule ends.
    """

    def sample(
        shape: tuple[int, ...], update: int, sigma_min: float, sigma_max: float, generator: torch.Generator
    ) -> NoisePairs:
        levels = num_levels or num_levels_at(update, schedule_updates)
        grid = karras_sigmas(levels, sigma_min, sigma_max).to(generator.device)
        index = torch.randint(levels - 1, shape, generator=generator, device=generator.device)
        # The grid descends.
        return NoisePairs(grid[index], grid[index + 1], torch.ones(shape, device=generator.device))

    return sample


def improved_pairs(schedule_updates: int) -> PairSampler:
    """Returns iCT's sampler: lognormal over neighbours on a growing grid, weighted by `1 / (s - s_next)`.

    Source: Song and Dhariwal (2024), Sections 3.4 and 3.5.

    Args:
      schedule_updates: updates over which the grid grows from 10 to 1280 intervals.
    """

    def sample(
        shape: tuple[int, ...], update: int, sigma_min: float, sigma_max: float, generator: torch.Generator
    ) -> NoisePairs:
        grid = karras_sigmas(improved_num_levels_at(update, schedule_updates), sigma_min, sigma_max)
        probs = lognormal_level_probs(grid, _LOG_SIGMA_MEAN, _LOG_SIGMA_SCALE).to(generator.device)
        grid = grid.to(generator.device)
        drawn = torch.multinomial(probs, math.prod(shape), replacement=True, generator=generator)
        index = drawn.reshape(shape)
        sigma, next_sigma = grid[index], grid[index + 1]
        return NoisePairs(sigma, next_sigma, 1.0 / (sigma - next_sigma))

    return sample


def easy_pairs(schedule_updates: int) -> PairSampler:
    """Returns ECT's sampler: lognormal levels, neighbours that close in, weighted by `1 / (s - s_next)`.

    Source: Geng et al. (2024), Section 3 and Eq. (13).

    Args:
      schedule_updates: updates over which neighbours close in.
    """

    def sample(
        shape: tuple[int, ...], update: int, sigma_min: float, sigma_max: float, generator: torch.Generator
    ) -> NoisePairs:
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        sigma = (_LOG_SIGMA_MEAN + _LOG_SIGMA_SCALE * drawn).exp().clamp(2.0 * sigma_min, sigma_max)
        next_sigma = easy_next_sigma(sigma, update, schedule_updates).clamp_min(sigma_min)
        return NoisePairs(sigma, next_sigma, 1.0 / (sigma - next_sigma))

    return sample


def scaled_by_gap(sampler: PairSampler, scale: float) -> PairSampler:
    """Returns a sampler of the same pairs whose distances weigh `scale / (sigma - next_sigma)`.

    Source: Ding & Jin (2024), "Consistency models as a rich and efficient policy class for reinforcement
    learning", the loss scaling of Section 5, with `scale` 100 in the released code.
    """

    def sample(
        shape: tuple[int, ...], update: int, sigma_min: float, sigma_max: float, generator: torch.Generator
    ) -> NoisePairs:
        pairs = sampler(shape, update, sigma_min, sigma_max, generator)
        return pairs._replace(weight=scale / (pairs.sigma - pairs.next_sigma))

    return sample
