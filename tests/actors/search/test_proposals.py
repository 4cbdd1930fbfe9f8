import numpy as np
import pytest
from scipy import stats
from scipy.integrate import dblquad, quad

from actors.search.proposals import (
    mixture_log_prob,
    tanh_normal_log_prob,
    tanh_normal_sample,
    truncated_normal_log_prob,
    truncated_normal_sample,
)

DISTRIBUTIONS = {
    "truncated": (truncated_normal_sample, truncated_normal_log_prob),
    "tanh": (tanh_normal_sample, tanh_normal_log_prob),
}


@pytest.mark.parametrize(
    ("name", "mean", "scale"),
    [(name, *case) for name in DISTRIBUTIONS for case in [(0.0, 0.5), (0.9, 0.3), (0.5, 2.0)]]
    + [("truncated", -1.0, 0.2), ("tanh", 1.0, 0.3)],
)
def test_draws_follow_the_density(name, mean, scale):
    """A Kolmogorov-Smirnov test of the draws against the integral of the density."""
    sample, log_prob = DISTRIBUTIONS[name]
    draws = sample(np.full(4_000, mean), np.float64(scale), np.random.default_rng(0))
    assert (np.abs(draws) <= 1.0).all()
    grid = np.tanh(np.linspace(-7.2, 7.2, 20_001))
    density = np.exp(log_prob(grid[:, None], np.float64(mean), np.float64(scale)))
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(grid))])
    np.testing.assert_allclose(cumulative[-1], 1.0, atol=2e-3)
    assert stats.kstest(draws, lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-3


def test_truncated_density_is_scipys():
    """An independent implementation, in two dimensions with scales of their own."""
    generator = np.random.default_rng(1)
    action, mean = generator.uniform(-1, 1, (20, 2)), generator.uniform(-1, 1, (20, 2))
    scale = np.array([0.3, 1.4])
    peer = stats.truncnorm.logpdf(action, (-1 - mean) / scale, (1 - mean) / scale, mean, scale).sum(axis=1)
    np.testing.assert_allclose(truncated_normal_log_prob(action, mean, scale), peer, rtol=1e-10)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_density_of_two_dimensions_integrates_to_one(name):
    """With the log of the summed Jacobian, instead of the sum of logs, it would not."""
    log_prob = DISTRIBUTIONS[name][1]
    mean, scale = np.array([0.3, -0.5]), np.array([0.4, 0.7])

    def density(y, x):
        return np.exp(log_prob(np.array([x, y]), mean, scale))

    total, _ = dblquad(density, -1.0, 1.0, -1.0, 1.0, epsabs=1e-4)
    assert total == pytest.approx(1.0, abs=2e-3)


def test_mixture_density_integrates_to_one():
    """The mean of the log-densities, instead of the log of the mean density, would not."""
    means, scales = np.array([[-0.5], [0.6]]), np.array([[0.2], [0.9]])
    log_weights = np.log([0.25, 0.75])

    def density(x):
        parts = truncated_normal_log_prob(np.full((2, 1), x), means, scales)
        return np.exp(mixture_log_prob(parts, log_weights))

    assert quad(density, -1.0, 1.0)[0] == pytest.approx(1.0, abs=1e-6)
