import math

import numpy as np
import pytest
import scipy.stats
import torch

from learners.laboratory.mixtures import TruncatedMixtures, random_mixtures


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _mixtures(num_components=3, action_size=2):
    return random_mixtures([num_components] * 4, action_size, _generator())


def _grid(num_points):
    """Midpoints of cells that cover the unit square, with their area."""
    axis = (torch.arange(num_points, dtype=torch.float64) + 0.5) / num_points
    return torch.cartesian_prod(axis, axis), 1.0 / num_points**2


@pytest.mark.parametrize("num_components", [2, 3])
def test_density_agrees_with_scipy(num_components):
    """Log-densities are those of scipy's truncated normals, mixed in a plain loop."""
    mixtures = _mixtures(num_components)
    actions = torch.rand((4, 30, 2), generator=_generator(1), dtype=torch.float64)
    found = mixtures.log_prob(actions)
    for i in range(4):
        expected = np.zeros(30)
        for k in range(num_components):
            density = np.ones(30)
            for a in range(2):
                m, s = float(mixtures.means[i, k, a]), float(mixtures.scales[i, k, a])
                density *= scipy.stats.truncnorm.pdf(actions[i, :, a], -m / s, (1 - m) / s, m, s)
            expected += float(mixtures.weights[i, k]) * density
        np.testing.assert_allclose(found[i].exp(), expected, rtol=1e-9)


def test_density_is_zero_outside_the_box():
    """Outside the box the log-density is minus infinity; on its edge it is not."""
    found = _mixtures().log_prob(
        torch.tensor([[[1.01, 0.5], [0.5, -0.01], [1.0, 0.0]]] * 4, dtype=torch.float64)
    )
    assert torch.isneginf(found[:, :2]).all() and torch.isfinite(found[:, 2]).all()


def test_samples_follow_the_density():
    """Each coordinate's samples pass a Kolmogorov-Smirnov test against the mixture's own distribution."""
    mixtures = _mixtures()
    samples = mixtures.sample(4000, _generator(2))
    assert samples.shape == (4, 4000, 2) and samples.min() >= 0.0 and samples.max() <= 1.0
    for i in range(4):
        for a in range(2):

            def cumulative(x, i=i, a=a):
                total = np.zeros_like(x)
                for k in range(3):
                    m, s = float(mixtures.means[i, k, a]), float(mixtures.scales[i, k, a])
                    part = scipy.stats.truncnorm.cdf(x, -m / s, (1 - m) / s, m, s)
                    total += float(mixtures.weights[i, k]) * part
                return total

            assert scipy.stats.kstest(samples[i, :, a].numpy(), cumulative).pvalue > 1e-4


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0, 80.0])
def test_noised_density_and_denoiser_agree_with_quadrature(sigma):
    """The closed forms equal sums over a fine grid of clean actions."""
    mixtures = _mixtures()
    grid, area = _grid(400)
    clean = mixtures.log_prob(grid.expand(4, -1, -1))  # [I, G]
    x_sigma = 0.5 + max(sigma, 0.4) * torch.randn((4, 12, 2), generator=_generator(3), dtype=torch.float64)
    squared = (x_sigma[:, :, None] - grid).square().sum(-1)  # [I, M, G]
    joint = clean[:, None] - 0.5 * squared / sigma**2 - math.log(2 * math.pi * sigma**2) + math.log(area)
    torch.testing.assert_close(
        mixtures.noised_log_prob(x_sigma, sigma), joint.logsumexp(-1), rtol=1e-3, atol=1e-3
    )
    expected = torch.softmax(joint, dim=-1) @ grid
    torch.testing.assert_close(mixtures.denoise(x_sigma, sigma), expected, rtol=0.0, atol=1e-3)


def test_denoiser_is_the_score_of_the_noised_density():
    """`(E[x | x_sigma] - x_sigma) / sigma^2` is the derivative of the noised log-density."""
    mixtures, sigma = _mixtures(), 0.2
    x_sigma = torch.rand((4, 9, 2), generator=_generator(4), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(mixtures.noised_log_prob(x_sigma, sigma).sum(), x_sigma)
    expected = (mixtures.denoise(x_sigma, sigma) - x_sigma) / sigma**2
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-6, atol=1e-6)


def test_score_is_the_gradient_of_the_density():
    """The score inside the box is the derivative of the log-density."""
    mixtures = _mixtures()
    actions = torch.rand((4, 9, 2), generator=_generator(5), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(mixtures.log_prob(actions).sum(), actions)
    torch.testing.assert_close(mixtures.score(actions).detach(), gradient, rtol=1e-9, atol=1e-9)


def test_far_tails_stay_finite():
    """Far from the box the posterior mean lies at its near corner, and nothing overflows."""
    mixtures = _mixtures()
    far = torch.tensor([[[40.0, -40.0]]] * 4, dtype=torch.float64)
    found = mixtures.denoise(far, 0.3)
    torch.testing.assert_close(
        found, torch.tensor([[[1.0, 0.0]]] * 4, dtype=torch.float64), atol=0.01, rtol=0
    )
    assert torch.isfinite(mixtures.noised_log_prob(far, 0.3)).all()


def test_noise_levels_broadcast():
    """A level of each sample gives what single levels give."""
    mixtures = _mixtures()
    x_sigma = torch.rand((4, 2, 2), generator=_generator(6), dtype=torch.float64)
    both = mixtures.denoise(x_sigma, torch.tensor([0.1, 3.0], dtype=torch.float64))
    torch.testing.assert_close(both[:, :1], mixtures.denoise(x_sigma[:, :1], 0.1))
    torch.testing.assert_close(both[:, 1:], mixtures.denoise(x_sigma[:, 1:], 3.0))


def test_instances_do_not_leak():
    """Each instance of a batch is what it is alone."""
    mixtures = _mixtures()
    alone = TruncatedMixtures(mixtures.means[2:3], mixtures.scales[2:3], mixtures.weights[2:3])
    actions = torch.rand((4, 5, 2), generator=_generator(7), dtype=torch.float64)
    torch.testing.assert_close(mixtures.log_prob(actions)[2:3], alone.log_prob(actions[2:3]))
    torch.testing.assert_close(mixtures.denoise(actions, 0.2)[2:3], alone.denoise(actions[2:3], 0.2))


def test_random_mixtures_are_seeded_and_in_range():
    """A seed settles the targets; means lie in the box, scales in their range, weights sum to one."""
    one, same, other = (random_mixtures([3, 2, 3, 2, 3], 6, _generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.means, same.means) and not torch.equal(one.means, other.means)
    assert one.means.shape == (5, 3, 6) and one.means.min() >= 0.0 and one.means.max() <= 1.0
    assert one.scales.min() >= 0.05 and one.scales.max() <= 0.3
    torch.testing.assert_close(one.weights.sum(1), torch.ones(5, dtype=torch.float64))


def test_wrong_shape_is_named():
    """Samples of another number of instances or dimensions are refused by name."""
    with pytest.raises(ValueError, match=r"`actions` must have shape \[4, any, 2\], got \[3, 7, 2\]"):
        _mixtures().log_prob(torch.zeros((3, 7, 2)))
    with pytest.raises(ValueError, match=r"`x_sigma` must have shape \[4, any, 2\], got \[4, 7, 3\]"):
        _mixtures().denoise(torch.zeros((4, 7, 3)), 0.1)
