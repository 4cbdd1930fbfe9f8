import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from learners.reference_ode import reference_endpoints


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _scipy_endpoint(actions: np.ndarray, log_weights: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Integrates dx/dsigma = (x - mu) / sigma from 80 to 0.002, in log sigma, with the score written out."""

    def slope(log_sigma: float, x: np.ndarray) -> np.ndarray:
        logits = log_weights - ((x - actions) ** 2).sum(-1) / (2 * math.exp(2 * log_sigma))
        weights = np.exp(logits - logits.max())
        return x - weights @ actions / weights.sum()

    span = (math.log(80.0), math.log(0.002))
    return solve_ivp(slope, span, 80.0 * noise, method="LSODA", rtol=1e-8, atol=1e-8).y[:, -1]


def _random_sets(num_states: int, spread: float = 1.0):
    generator = _generator()
    actions = spread * (torch.rand(num_states, 16, 6, generator=generator) * 2 - 1)
    log_weights = (1.5 * torch.randn(num_states, 16, generator=generator)).log_softmax(-1)
    return actions, log_weights, torch.randn(num_states, 2, 6, generator=generator)


@pytest.mark.parametrize("spread", [1.0, 0.1])
def test_many_steps_converge_to_an_independent_solver(spread):
    """With 200 steps every end point is that of LSODA on the untransformed ODE, within 2 % of the spread."""
    actions, log_weights, noise = _random_sets(12, spread)
    ends = reference_endpoints(actions, log_weights, noise, num_steps=200)
    for b in range(12):
        expected = _scipy_endpoint(
            *(array[b].double().numpy() for array in (actions, log_weights, noise[:, 0]))
        )
        np.testing.assert_allclose(ends[b, 0], expected, atol=0.02 * spread)


def test_eight_steps_end_where_many_do():
    """The default grid: median error below 0.1 % of the spread, below 3 % of noises elsewhere."""
    actions, log_weights, noise = _random_sets(300)
    few = reference_endpoints(actions, log_weights, noise, num_steps=8)
    many = reference_endpoints(actions, log_weights, noise, num_steps=200)
    error = (few - many).norm(dim=-1)
    assert float(error.median()) < 0.001
    assert float((error > 0.2).float().mean()) < 0.03


def test_end_points_hit_candidates_with_their_weights():
    """The flow carries Gaussian noise to the weighted points: frequencies equal weights within 2 %."""
    actions = torch.tensor([[[-0.8, 0.5], [0.7, 0.6], [0.1, -0.9]]])
    weights = torch.tensor([[0.5, 0.2, 0.3]])
    noise = torch.randn(1, 20_000, 2, generator=_generator())
    ends = reference_endpoints(actions, weights.log(), noise, num_steps=8)[0]
    nearest = torch.cdist(ends, actions[0]).argmin(-1)
    frequencies = torch.bincount(nearest, minlength=3) / 20_000
    torch.testing.assert_close(frequencies, weights[0], rtol=0, atol=0.02)


def test_two_points_split_the_noise_at_its_quantile():
    """In one dimension the map is monotone: noise above the (1-p) quantile goes to the upper point."""
    mass = 0.3
    actions, log_weights = torch.tensor([[[0.6], [-0.6]]]), torch.tensor([[mass, 1 - mass]]).log()
    quantile = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - mass)))
    # The mean of the points shifts the start by mean / sigma_max, well within the margin kept here.
    noise = torch.tensor([[[quantile - 0.1], [quantile + 0.1]]])
    ends = reference_endpoints(actions, log_weights, noise, num_steps=60)
    torch.testing.assert_close(ends, torch.tensor([[[-0.6], [0.6]]]), rtol=0, atol=0.02)


def test_one_candidate_gets_everything_but_sigma_min_of_noise():
    """A set of one point (others of no mass) ends at that point, within a few sigma_min."""
    actions, _, noise = _random_sets(4)
    log_weights = torch.full((4, 16), -math.inf)
    log_weights[:, 5] = 0.0
    ends = reference_endpoints(actions, log_weights, noise, num_steps=8)
    torch.testing.assert_close(ends, actions[:, 5:6].expand(4, 2, 6), rtol=0, atol=0.01)


def test_result_moves_and_scales_with_the_set():
    """End points of a set moved and halved are the end points moved and halved, up to mean / sigma_max."""
    actions, log_weights, noise = _random_sets(20)
    ends = reference_endpoints(actions, log_weights, noise, num_steps=8)
    moved = reference_endpoints(0.5 * actions + 0.3, log_weights, noise, num_steps=8)
    error = (moved - (0.5 * ends + 0.3)).norm(dim=-1)
    assert float(error.median()) < 0.005


def test_weights_need_not_be_normalised():
    """A constant added to the log-weights changes nothing."""
    actions, log_weights, noise = _random_sets(5)
    torch.testing.assert_close(
        reference_endpoints(actions, log_weights + 7.0, noise, num_steps=8),
        reference_endpoints(actions, log_weights, noise, num_steps=8),
        rtol=1e-3,
        atol=1e-4,
    )


def test_too_few_steps_are_named():
    """The message says the least and what came."""
    actions, log_weights, noise = _random_sets(1)
    with pytest.raises(ValueError, match="`num_steps` must be at least 3, got 2"):
        reference_endpoints(actions, log_weights, noise, num_steps=2)


def test_another_estimate_can_be_integrated():
    """Given the closed form itself, end points are the same; given a Gaussian's, those of its own ODE."""
    actions, log_weights, noise = _random_sets(20)

    def closed_form(x_sigma, sigma):
        distance = (x_sigma[:, :, None] - actions[:, None]).square().sum(-1)
        logits = log_weights[:, None] - distance / (2 * sigma[..., None].square())
        return torch.softmax(logits, dim=-1) @ actions

    plain = reference_endpoints(actions, log_weights, noise, num_steps=8)
    given = reference_endpoints(actions, log_weights, noise, num_steps=8, denoise_fn=closed_form)
    # The grids differ, so a noise near the border of two candidates may go to either.
    assert float((given - plain).norm(dim=-1).quantile(0.9)) < 0.005

    def gaussian(x_sigma, sigma, mean=0.2, std=0.5):
        variance = sigma[..., None].square()
        return (std**2 * x_sigma + variance * mean) / (std**2 + variance)

    ends = reference_endpoints(actions, log_weights, noise, num_steps=12, denoise_fn=gaussian)
    torch.testing.assert_close(ends, 0.2 + 0.5 * noise, rtol=0, atol=0.03)
