import numpy as np
import pytest
import torch

from distill_rl.diffusion.samplers import integrate_probability_flow, sample_multistep
from distill_rl.diffusion.schedules import karras_sigmas

_STD = 0.3


def _gaussian_denoiser(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[x | x_sigma] for data N(0, 0.3^2)."""
    return x * _STD**2 / (_STD**2 + sigma**2)


def _exact(x: torch.Tensor, sigma: float, end: float) -> torch.Tensor:
    """For Gaussian data the flow only rescales by the ratio of standard deviations."""
    return x * ((_STD**2 + end**2) / (_STD**2 + sigma**2)) ** 0.5


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_error_falls_with_the_order_of_the_solver(solver, order):
    """Doubling the steps divides the error by 2^order."""
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    errors = []
    for num_levels in (33, 65, 129):
        sigmas = karras_sigmas(num_levels, 0.01, 2.0).double()
        end = integrate_probability_flow(_gaussian_denoiser, x, sigmas, solver)
        errors.append(float((end - _exact(x, 2.0, 0.01)).abs().max()))
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(slopes, order, atol=0.2)


def test_last_level_of_zero_gives_the_denoised_sample():
    """The Euler step to sigma = 0 ends at D(x, sigma)."""
    x = torch.tensor([[0.4]])
    end = integrate_probability_flow(_gaussian_denoiser, x, torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(end, _gaussian_denoiser(x, 0.5))


def test_unknown_solver_is_named():
    """The message names the choices and the nearest one."""
    with pytest.raises(ValueError, match="`solver` must be one of euler, heun; got 'hein'"):
        integrate_probability_flow(_gaussian_denoiser, torch.zeros(1, 1), torch.tensor([1.0, 0.5]), "hein")


@pytest.mark.parametrize("sigmas", [[], [80.0, 0.001]])
def test_multistep_refuses_levels_that_are_none(sigmas):
    """Below `sigma_min` no noise brings a sample to the level."""
    with pytest.raises(ValueError, match=r"`sigmas` must be levels from `sigma_min` = 0\.002 up, got \["):
        sample_multistep(lambda x, sigma: x, lambda: torch.zeros(1, 1), sigmas, 0.002)


def test_multistep_of_an_exact_consistency_function_keeps_the_distribution():
    """With the exact map every number of steps samples N(0, std^2 + sigma_min^2)."""
    generator = torch.Generator().manual_seed(0)
    for sigmas in ([80.0], [80.0, 2.0], [80.0, 2.0, 0.3]):
        x = sample_multistep(
            lambda x, sigma: _exact(x, sigma, 0.002),
            lambda: torch.randn(20_000, 1, generator=generator),
            sigmas,
            0.002,
        )
        assert float(x.std()) == pytest.approx(_STD, rel=0.02)
