import math

import numpy as np
import pytest
import scipy.stats
import torch

from distill_rl.diffusion.schedules import karras_sigmas
from learners.laboratory.metrics import energy_distance, log_prob_errors, score_mae, squared_mmd
from learners.laboratory.mixtures import random_mixtures


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _targets():
    return random_mixtures([2, 3], 2, _generator())


def test_energy_distance_agrees_with_scipy_in_one_dimension():
    """Scipy's distance is the square root of half of it there."""
    x, y = torch.randn(2, 50, 1, generator=_generator(1)), torch.rand(2, 40, 1, generator=_generator(2))
    found = energy_distance(x, y)
    for row in range(2):
        expected = scipy.stats.energy_distance(x[row, :, 0], y[row, :, 0]) ** 2
        assert float(found[row]) == pytest.approx(expected, rel=1e-4)


def test_mmd_agrees_with_a_loop():
    """The kernels' double sums, written out."""
    x, y = torch.rand(1, 12, 2, generator=_generator(1)), torch.rand(1, 9, 2, generator=_generator(2))

    def mean_kernel(one, two):
        total = 0.0
        for p in one[0].numpy():
            for q in two[0].numpy():
                squared = float(((p - q) ** 2).sum())
                total += np.mean([math.exp(-squared / (2 * h**2)) for h in (0.02, 0.05, 0.1, 0.2, 0.5)])
        return total / (one.shape[1] * two.shape[1])

    expected = mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
    assert float(squared_mmd(x, y)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("statistic", [energy_distance, squared_mmd])
def test_exact_samples_are_near_and_shifted_ones_far(statistic):
    """Against samples of the target itself a shift of a tenth raises the statistic many times."""
    targets = _targets()
    x, y = (targets.sample(1000, _generator(seed)) for seed in (1, 2))
    assert bool((statistic(x + 0.1, y) > 5 * statistic(x, y)).all())


def test_exact_denoiser_has_no_errors():
    """With the targets' own denoisers log-densities, divergence and scores are right."""
    targets = _targets()
    inside = targets.sample(300, _generator(1)).clamp(0.05, 0.95)
    found = log_prob_errors(targets.denoise, targets, inside, sigma_min=0.002, sigma_max=80.0)
    assert found.mae.max() < 0.05 and found.mse.max() < 0.02 and found.kl.abs().max() < 0.02
    grid = karras_sigmas(10, 0.002, 80.0)
    assert score_mae(targets.denoise, targets, inside, grid, _generator()).max() < 1e-9


def test_wrong_denoiser_has_the_errors_of_its_own_density():
    """One target's denoiser judged by another: errors are those between the two densities."""
    one, other = random_mixtures([2], 2, _generator(3)), random_mixtures([2], 2, _generator(4))
    actions = one.sample(300, _generator(1)).clamp(0.05, 0.95)
    found = log_prob_errors(other.denoise, one, actions, sigma_min=0.002, sigma_max=80.0)
    difference = one.log_prob(actions) - other.log_prob(actions)
    torch.testing.assert_close(found.kl, difference.mean(1), atol=0.03, rtol=0.01)
    torch.testing.assert_close(found.mse, difference.square().mean(1), atol=0.1, rtol=0.02)


def test_score_error_is_scaled_by_the_noise():
    """A denoiser off by a constant d has score errors d / sigma^2, averaged over the levels."""
    targets = _targets()
    actions = targets.sample(50, _generator(1))
    sigmas = torch.tensor([0.1, 0.5])
    found = score_mae(lambda x, s: targets.denoise(x, s) + 0.02, targets, actions, sigmas, _generator())
    torch.testing.assert_close(
        found, torch.full((2,), 0.5 * 0.02 * (100 + 4), dtype=torch.float64), rtol=1e-4, atol=0
    )
