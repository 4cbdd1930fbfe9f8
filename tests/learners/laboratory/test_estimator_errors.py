import pytest
import torch

from learners.laboratory.estimator_errors import estimator_errors
from learners.laboratory.mixtures import random_mixtures


def _errors(name, sigma=0.2, num_candidates=16, num_sets=300):
    return estimator_errors(
        name,
        random_mixtures([2, 3], 2, torch.Generator().manual_seed(0)),
        sigma=sigma,
        num_candidates=num_candidates,
        num_points=40,
        num_sets=num_sets,
        generator=torch.Generator().manual_seed(1),
    )


def test_single_sample_has_no_bias_and_the_posterior_variance():
    """A draw from the posterior: its mean is exact, and its variance that of the posterior by a grid."""
    targets = random_mixtures([2, 3], 2, torch.Generator().manual_seed(0))
    found = _errors("single_sample", num_sets=2000)
    generator = torch.Generator().manual_seed(1)
    clean = targets.sample(40, generator)
    x_sigma = clean + 0.2 * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    axis = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    grid = torch.cartesian_prod(axis, axis)
    for i in range(2):
        log_p = targets.log_prob(grid.expand(2, -1, -1))[i]
        kernel = -0.5 * ((x_sigma[i][:, None] - grid) / 0.2).square().sum(-1)
        weights = torch.softmax(log_p + kernel, dim=1)
        mean = weights @ grid
        variance = (weights @ grid.square() - mean.square()).sum(-1).mean()
        assert float(found.variance[i]) == pytest.approx(float(variance), rel=0.03)
        assert abs(float(found.squared_bias[i])) < 0.003 * float(variance)


def test_corrected_weights_converge_and_the_papers_do_not():
    """With sixteen times the candidates the error falls by as much, but for the weights of p* twice."""
    few, many = (_errors("proposal_corrected", num_candidates=n) for n in (16, 256))
    assert bool((many.mse < 0.15 * few.mse).all())
    few, many = (_errors("importance", num_candidates=n) for n in (16, 256))
    assert bool((many.squared_bias > 0.5 * few.squared_bias).all())


def test_effective_sample_size_falls_with_the_noise():
    """A wide kernel counts all candidates alike, a narrow one the nearest."""
    sizes = [
        float(_errors("proposal_corrected", sigma, num_sets=20).effective_sample_size.mean())
        for sigma in (5.0, 0.2, 0.02)
    ]
    assert 15.9 < sizes[0] <= 16.0 and sizes[0] > sizes[1] > sizes[2] > 1.0


def test_unknown_estimator_is_named():
    """The nearest name is proposed."""
    with pytest.raises(ValueError, match="did you mean 'stein'"):
        _errors("stien")
