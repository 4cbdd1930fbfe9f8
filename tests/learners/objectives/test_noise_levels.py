import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from distill_rl.diffusion.schedules import (
    easy_next_sigma,
    improved_num_levels_at,
    karras_sigmas,
    lognormal_level_probs,
)
from learners.objectives.noise_levels import easy_pairs, improved_pairs, karras_pairs

RANGE = (0.002, 80.0)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_improved_grid_doubles_from_10_to_1280_intervals():
    """Song & Dhariwal (2024), Section 3.4: eight equal stages, each with twice the intervals."""
    found = [improved_num_levels_at(k, 800) for k in range(0, 800, 100)]
    assert found == [11, 21, 41, 81, 161, 321, 641, 1281]
    assert improved_num_levels_at(99, 800) == 11 and improved_num_levels_at(10**6, 800) == 1281


def test_level_probs_are_lognormal_masses():
    """The mass of each interval is that of scipy's lognormal distribution, cut to the grid."""
    grid = karras_sigmas(11, *RANGE)
    law = scipy.stats.lognorm(s=2.0, scale=math.exp(-1.1))
    mass = -np.diff(law.cdf(grid.double().numpy()))
    np.testing.assert_allclose(lognormal_level_probs(grid, -1.1, 2.0), mass / mass.sum(), rtol=1e-5)


def test_easy_levels_close_in():
    """Geng et al. (2024): r / t = 1 - n(t) / 2^j, from the data themselves to within a 2^8th part of n."""
    sigma = torch.tensor([0.01, 1.0, 40.0])
    for stage in range(8):
        found = easy_next_sigma(sigma, update=stage * 100, total_updates=800)
        nearness = 1.0 + 8.0 / (1.0 + np.exp(sigma.double().numpy()))
        expected = sigma.numpy() * np.maximum(0.0, 1.0 - nearness / 2.0 ** (stage + 1))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(easy_next_sigma(sigma, 10**6, 800), easy_next_sigma(sigma, 700, 800))


@pytest.mark.parametrize("update", [0, 350, 10_000])
@pytest.mark.parametrize(
    "sampler", [karras_pairs(10, 1), karras_pairs(None, 800), improved_pairs(800), easy_pairs(800)]
)
def test_pairs_descend_within_the_range(sampler, update):
    """At every stage both levels lie in the range, the second is lower, and the weight is finite."""
    sigma, next_sigma, weight = sampler((500, 4), update, *RANGE, _generator())
    assert sigma.shape == next_sigma.shape == weight.shape == (500, 4)
    assert bool((next_sigma < sigma).all())
    assert next_sigma.min() >= RANGE[0] and sigma.max() <= RANGE[1]
    assert bool(torch.isfinite(weight).all()) and bool((weight > 0).all())


def test_karras_neighbours_are_uniform_and_unweighted():
    """Each of the nine pairs of a grid of ten comes about as often as the others."""
    sigma, next_sigma, weight = karras_pairs(10, 1)((90_000,), 0, *RANGE, _generator())
    grid = karras_sigmas(10, *RANGE)
    for upper, lower in itertools.pairwise(grid):
        chosen = sigma == upper
        assert chosen.float().mean() == pytest.approx(1 / 9, rel=0.05)
        assert bool((next_sigma[chosen] == lower).all())
    assert bool((weight == 1.0).all())


@pytest.mark.parametrize("sampler", [improved_pairs(800), easy_pairs(800)])
def test_weights_are_one_over_the_distance(sampler):
    """Both improved recipes weigh a pair by 1 / (sigma - next_sigma)."""
    sigma, next_sigma, weight = sampler((200,), 750, *RANGE, _generator())
    torch.testing.assert_close(weight * (sigma - next_sigma), torch.ones(200))


def test_improved_levels_are_drawn_by_their_probabilities():
    """The share of each interval in many draws is its lognormal mass."""
    sigma, _, _ = improved_pairs(800)((50_000,), 0, *RANGE, _generator())
    grid = karras_sigmas(11, *RANGE)
    shares = torch.stack([(sigma == level).float().mean() for level in grid[:-1]])
    torch.testing.assert_close(shares, lognormal_level_probs(grid, -1.1, 2.0), atol=0.01, rtol=0.0)


def test_easy_levels_are_lognormal():
    """The logarithm of the upper level has mean -1.1 and standard deviation 2, but for the ends."""
    sigma, _, _ = easy_pairs(800)((50_000,), 0, *RANGE, _generator())
    assert sigma.log().median() == pytest.approx(-1.1, abs=0.05)
    assert sigma.log().quantile(0.84) + 1.1 == pytest.approx(2.0, abs=0.08)
