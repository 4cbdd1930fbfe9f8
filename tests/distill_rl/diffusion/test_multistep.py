"""Samplers against the closed form for Gaussian data."""

import itertools
import math

import pytest
import torch

from distill_rl.diffusion.multistep import SAMPLERS, sample_diffusion, variance_preserving_sigmas
from distill_rl.diffusion.schedules import karras_sigmas

_MEAN, _SCALE = 0.3, 0.7


def denoise(x, sigma):
    """The mean of `N(0.3, 0.7^2)` given a noisy point."""
    return _MEAN + _SCALE**2 / (_SCALE**2 + sigma**2) * (x - _MEAN)


def flow(x, sigma, next_sigma):
    """Where the probability flow takes a point."""
    return _MEAN + math.sqrt((_SCALE**2 + next_sigma**2) / (_SCALE**2 + sigma**2)) * (x - _MEAN)


def error_of(sampler, num_levels):
    sigmas = karras_sigmas(num_levels, 0.01, 20.0).double()
    x = torch.linspace(-30.0, 30.0, 11, dtype=torch.float64)[:, None]
    found = sample_diffusion(sampler, denoise, x, sigmas)
    return float((found - flow(x, 20.0, 0.01)).abs().max())


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpm_solver_pp", 2)])
def test_errors_fall_at_the_order_of_the_method(sampler, order):
    coarse, fine = error_of(sampler, 101), error_of(sampler, 201)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_ddim_is_its_published_formula():
    """In the variance-preserving coordinates of the paper, by its Eq. (12)."""
    sigmas = variance_preserving_sigmas(9).double()
    x = torch.linspace(-50.0, 50.0, 5, dtype=torch.float64)[:, None]
    found = sample_diffusion("ddim", denoise, x, sigmas)
    alpha_bar = 1.0 / (1.0 + sigmas**2)
    scaled = x * alpha_bar[0].sqrt()
    for now, after, sigma in zip(alpha_bar, alpha_bar[1:], sigmas):
        clean = denoise(scaled / now.sqrt(), sigma)
        noise = (scaled - now.sqrt() * clean) / (1.0 - now).sqrt()
        scaled = after.sqrt() * clean + (1.0 - after).sqrt() * noise
    torch.testing.assert_close(found, scaled)


def test_ddpm_draws_from_the_posterior():
    """One step, against the mean and the variance of Ho et al., Eq. (7), in their coordinates."""
    sigmas = torch.tensor([3.0, 2.0], dtype=torch.float64)
    x = torch.tensor([[1.5]], dtype=torch.float64)
    mean = sample_diffusion("ddpm", denoise, x, sigmas, lambda: torch.zeros_like(x))
    one_off = sample_diffusion("ddpm", denoise, x, sigmas, lambda: torch.ones_like(x))
    now, before = 1.0 / (1.0 + sigmas**2)
    alpha = now / before
    clean, scaled = denoise(x, 3.0), x * now.sqrt()
    expected = (before.sqrt() * (1 - alpha) * clean + alpha.sqrt() * (1 - before) * scaled) / (1 - now)
    variance = (1 - before) * (1 - alpha) / (1 - now)
    torch.testing.assert_close(mean * before.sqrt(), expected)
    torch.testing.assert_close((one_off - mean).square() * before, variance.expand(1, 1))


@pytest.mark.parametrize("num_levels", [20, 60])
def test_ddpm_samples_have_the_moments_of_the_chain(num_levels):
    """Each step is linear with Gaussian noise here: its mean and variance follow from those before."""
    generator = torch.Generator().manual_seed(0)
    shape = (40_000, 1)

    def noise():
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    sigmas = torch.cat([karras_sigmas(num_levels, 0.002, 80.0), torch.zeros(1)]).double()
    samples = sample_diffusion("ddpm", denoise, 80.0 * noise(), sigmas, noise)
    mean, variance = 0.0, 80.0**2
    for sigma, next_sigma in itertools.pairwise(sigmas.tolist()):
        ratio, shrink = (next_sigma / sigma) ** 2, _SCALE**2 / (_SCALE**2 + sigma**2)
        factor = shrink + ratio * (1.0 - shrink)
        mean = (1.0 - factor) * _MEAN + factor * mean
        variance = factor**2 * variance + (1.0 - ratio) * next_sigma**2
    assert float(samples.mean()) == pytest.approx(mean, abs=0.01)
    assert float(samples.std()) == pytest.approx(math.sqrt(variance), abs=0.01)


def test_a_guide_moves_the_mean_by_its_gradient_and_the_variance():
    """Diffuser's `mu + alpha Sigma g`, with Sigma of Ho et al., Eq. (7), and g at the mean."""
    sigmas = torch.tensor([3.0, 2.0], dtype=torch.float64)
    x = torch.tensor([[1.5]], dtype=torch.float64)

    def still():
        return torch.zeros_like(x)

    def guide(point, sigma):
        """The gradient of `-(point - sigma)^2`."""
        return -2.0 * (point - sigma)

    mean = sample_diffusion("ddpm", denoise, x, sigmas, still)
    guided = sample_diffusion("ddpm", denoise, x, sigmas, still, guide)
    variance = 2.0**2 * (3.0**2 - 2.0**2) / 3.0**2
    torch.testing.assert_close(guided, mean + variance * -2.0 * (mean - 2.0))


def test_a_guide_samples_the_tilted_gaussian():
    """`N(m, s^2) exp(a x)` is `N(m + a s^2, s^2)`; the guide is the gradient of its noisy log-mean."""
    tilt, shape, generator = 0.8, (20_000, 1), torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def guide(point, sigma):
        """The gradient of `log E[exp(a x) | point]`."""
        return torch.full_like(point, tilt * _SCALE**2 / (_SCALE**2 + sigma**2))

    sigmas = torch.cat([karras_sigmas(200, 0.002, 40.0), torch.zeros(1)]).double()
    samples = sample_diffusion("ddpm", denoise, 40.0 * noise(), sigmas, noise, guide)
    assert float(samples.mean()) == pytest.approx(_MEAN + tilt * _SCALE**2, abs=0.03)
    assert float(samples.std()) == pytest.approx(_SCALE, abs=0.03)


def test_schedule_is_that_of_the_paper():
    """`1 / sqrt(1 + sigma^2)` is the factor on the data, by numerical integration of beta."""
    sigmas = variance_preserving_sigmas(5)
    t = torch.linspace(0.0, 1.0, 100_001, dtype=torch.float64)
    beta = 0.1 + 19.9 * t
    integral = torch.trapezoid(beta, t)
    factor = torch.exp(-0.5 * integral)
    assert float(1.0 / (1.0 + sigmas[0].double() ** 2).sqrt()) == pytest.approx(float(factor), rel=1e-5)
    assert sigmas[-1] == 0.0 and bool((sigmas.diff() < 0).all())


def test_mistakes_are_refused():
    x, sigmas = torch.zeros(1, 1), torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="sampler"):
        sample_diffusion("unipc", denoise, x, sigmas)
    with pytest.raises(ValueError, match="`noise_fn` must be given"):
        sample_diffusion("ddpm", denoise, x, sigmas)
    with pytest.raises(ValueError, match="`guide_fn` must be None for the sampler heun"):
        sample_diffusion("heun", denoise, x, sigmas, guide_fn=denoise)
    with pytest.raises(ValueError, match="`num_levels`"):
        variance_preserving_sigmas(1)
    assert len(SAMPLERS) == 5
