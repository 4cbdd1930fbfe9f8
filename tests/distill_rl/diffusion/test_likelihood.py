import math

import pytest
import torch

from distill_rl.diffusion.likelihood import log_density
from distill_rl.diffusion.samplers import integrate_probability_flow
from distill_rl.diffusion.schedules import karras_sigmas

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
MEANS = torch.tensor([[0.1, -0.15], [-0.2, 0.1], [0.05, 0.2]], dtype=torch.float64)
SCALES = torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


class Mixture:
    """A mixture of isotropic Gaussians: exact denoiser and exact density at every noise level."""

    def __init__(self, means=MEANS, scales=SCALES, weights=WEIGHTS):
        self.means, self.scales, self.weights = means, scales, weights

    def _log_components(self, x, sigma):
        variance = self.scales**2 + sigma**2  # [K]
        squared = (x[:, None] - self.means).square().sum(-1)  # [M, K]
        size = self.means.shape[1]
        return self.weights.log() - 0.5 * squared / variance - 0.5 * size * (2 * math.pi * variance).log()

    def log_density(self, x, sigma=SIGMA_MIN):
        return torch.logsumexp(self._log_components(x, sigma), dim=1)

    def denoise(self, x, sigma):
        gain = self.scales**2 / (self.scales**2 + sigma**2)
        of_components = self.means + gain[:, None] * (x[:, None] - self.means)
        return (torch.softmax(self._log_components(x, sigma), dim=1)[..., None] * of_components).sum(dim=1)

    def sample(self, num_samples, seed=0):
        generator = torch.Generator().manual_seed(seed)
        index = torch.multinomial(self.weights, num_samples, replacement=True, generator=generator)
        noise = torch.randn((num_samples, self.means.shape[1]), generator=generator, dtype=torch.float64)
        return self.means[index] + self.scales[index, None] * noise


GAUSSIAN = Mixture(MEANS[:1], SCALES[:1], torch.ones(1, dtype=torch.float64))


def _log_density(model, actions, **settings):
    return log_density(model.denoise, actions, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, **settings)


@pytest.mark.parametrize("solver", ["heun", "adaptive"])
@pytest.mark.parametrize("model", [GAUSSIAN, Mixture()], ids=["gaussian", "mixture"])
def test_exact_divergence_gives_the_closed_form(model, solver):
    """With the analytic score the log-density is the closed form to a hundredth of a nat."""
    spread = torch.randn((40, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    actions = torch.cat([model.sample(40), model.means[0] + 0.1 * spread])
    with torch.no_grad():
        found = _log_density(model, actions, solver=solver)
    torch.testing.assert_close(found, model.log_density(actions), rtol=0.0, atol=1e-2)


@pytest.mark.parametrize("divergence", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(divergence):
    """Estimates with many independent probes average to the exact value, within four standard errors.

    The denoiser's Jacobian does not depend on x for a Gaussian, so neither does the path on the probes; this
    one mixes the coordinates, since for a diagonal Jacobian Rademacher probes would be exact.
    """
    mixing = torch.tensor([[0.3, 0.2, -0.1], [0.2, 0.4, 0.15], [-0.1, 0.15, 0.25]], dtype=torch.float64)

    def denoise(x, sigma):
        return x @ torch.linalg.inv(mixing + sigma**2 * torch.eye(3, dtype=torch.float64)) @ mixing

    actions = torch.tensor([[0.2, -0.1, 0.4]], dtype=torch.float64)
    settings = dict(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, num_steps=64)
    with torch.no_grad():
        exact = log_density(denoise, actions, divergence="exact", **settings)
        estimates = log_density(
            denoise,
            actions.expand(20_000, 3),
            divergence=divergence,
            generator=torch.Generator().manual_seed(0),
            **settings,
        )
    error = estimates.std() / math.sqrt(len(estimates))
    assert estimates.std() > 0.1
    assert abs(estimates.mean() - exact) < 4.0 * error


def test_more_probes_vary_less():
    """The variance of the estimate falls as one over the number of probes."""
    actions = MEANS[:1].expand(4000, 2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        one, four = (
            _log_density(
                Mixture(), actions, divergence="gaussian", num_probes=n, num_steps=32, generator=generator
            ).var()
            for n in (1, 4)
        )
    assert 3.3 < one / four < 4.8


def test_density_integrates_to_one():
    """Summed over a fine grid, the density is one."""
    axis = torch.linspace(-1.5, 1.5, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    model = Mixture(scales=2.0 * SCALES)
    with torch.no_grad():
        total = _log_density(model, grid, num_steps=48).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=5e-3)


def test_density_is_that_of_the_sampler():
    """Samples of the same ODE have, on average, the model's entropy: the closed form by Monte Carlo."""
    model = Mixture()
    noise = torch.randn((4000, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    grid = karras_sigmas(200, SIGMA_MIN, SIGMA_MAX).double()
    samples = integrate_probability_flow(model.denoise, SIGMA_MAX * noise, grid)
    with torch.no_grad():
        found = _log_density(model, samples[:1000])
    drawn = model.log_density(model.sample(100_000))
    assert found.mean() == pytest.approx(float(drawn.mean()), abs=4.0 * float(found.std()) / math.sqrt(1000))


def test_gradients_reach_the_model():
    """The derivative with respect to the model's own parameter agrees with finite differences."""

    def at(mean):
        gaussian = Mixture(mean.expand(1, 2), SCALES[:1], torch.ones(1, dtype=torch.float64))
        return _log_density(gaussian, torch.tensor([[0.25, 0.4]], dtype=torch.float64), num_steps=64).sum()

    mean = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(at(mean), mean)
    with torch.no_grad():
        difference = (at(mean + 1e-5) - at(mean - 1e-5)) / 2e-5
    assert float(gradient) == pytest.approx(float(difference), rel=1e-4)


def test_no_gradient_is_kept_where_none_is_wanted():
    """Without gradients the result carries no graph, although the divergence needs derivatives."""
    with torch.no_grad():
        assert not _log_density(GAUSSIAN, MEANS, num_steps=4).requires_grad


def test_many_dimensions_default_to_hutchinson():
    """Up to 32 action dimensions the default is exact; beyond, it depends on the probes."""
    for size, is_exact in ((32, True), (33, False)):
        matrix = 0.1 * torch.randn((size, size), generator=torch.Generator().manual_seed(0))
        found = [
            log_density(
                lambda x, sigma, matrix=matrix: x @ matrix / (1.0 + sigma**2),
                torch.ones((1, size)),
                sigma_min=0.01,
                sigma_max=10.0,
                num_steps=4,
                generator=torch.Generator().manual_seed(seed),
            )
            for seed in (0, 1)
        ]
        assert torch.equal(*found) == is_exact


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(divergence="hutchinson"), "`divergence` must be one of exact, gaussian, rademacher"),
        (dict(solver="euler"), "`solver` must be one of adaptive, heun"),
        (dict(num_steps=0), "`num_steps` must be at least 1, got 0"),
        (dict(num_probes=0), "`num_probes` must be at least 1, got 0"),
        (dict(tolerance=0.0), "`tolerance` must be positive, got 0.0"),
        (dict(divergence="gaussian"), "`generator` must be given for the divergence gaussian, got None"),
    ],
)
def test_bad_settings_are_named(settings, message):
    """Each wrong setting is refused by name."""
    with pytest.raises(ValueError, match=message):
        _log_density(GAUSSIAN, MEANS, **settings)


def test_actions_of_another_shape_are_named():
    """They are rows of a batch."""
    with pytest.raises(ValueError, match=r"`actions` must have shape \[any, any\], got \[2\]"):
        _log_density(GAUSSIAN, MEANS[0])


def test_noise_levels_must_be_in_order():
    """The smallest level lies below the largest."""
    with pytest.raises(ValueError, match=r"`sigma_max` must exceed `sigma_min` = 1\.0, got 0\.5"):
        log_density(GAUSSIAN.denoise, MEANS, sigma_min=1.0, sigma_max=0.5)
