"""Likelihoods of noisy one-step actions, against densities known otherwise."""

import math

import pytest
import torch
from scipy import stats

from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.noisy_actions import (
    chain_log_prob,
    denoising_log_prob,
    draw_noisy_actions,
    ode_log_prob,
)

_LOG_STD = torch.tensor([-1.0, 0.2])


@pytest.fixture
def policy():
    torch.manual_seed(0)
    return ConsistencyPolicy(3, 2, hidden_sizes=(8,))


@pytest.fixture
def observation():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("num_steps", [1, 3])
def test_chain_log_prob_is_the_sum_over_gaussian_steps(policy, observation, num_steps):
    """Against scipy's normal density, one step, row and dimension at a time."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        actions, inputs = draw_noisy_actions(policy, _LOG_STD, observation, num_steps, generator)
        log_prob = chain_log_prob(policy, _LOG_STD, observation, actions, inputs)
        rho, low, high = 7.0, policy.sigma_min, policy.sigma_max
        sigmas = [
            (high ** (1 / rho) + k / num_steps * (low ** (1 / rho) - high ** (1 / rho))) ** rho
            for k in range(num_steps)
        ]
        for row in range(5):
            expected = 0.0
            for k in range(num_steps):
                mean = policy.denoise(inputs[row, k], sigmas[k], observation[row])
                is_last = k == num_steps - 1
                output = actions[row] if is_last else inputs[row, k + 1]
                for j in range(2):
                    std = _LOG_STD[j].exp() if is_last else math.sqrt(sigmas[k + 1] ** 2 - low**2)
                    expected += stats.norm.logpdf(float(output[j]), float(mean[j]), float(std))
            assert float(log_prob[row]) == pytest.approx(expected, rel=1e-4)


def test_ratios_of_chains_average_to_one(policy):
    """They are importance weights: the mean ratio under the old policy is one, whatever the new one is."""
    torch.manual_seed(3)
    other = ConsistencyPolicy(3, 2, hidden_sizes=(8,))
    seen = torch.randn(1, 3).expand(40_000, -1)
    with torch.no_grad():
        actions, inputs = draw_noisy_actions(policy, _LOG_STD, seen, 2)
        old = chain_log_prob(policy, _LOG_STD, seen, actions, inputs)
        ratio = (chain_log_prob(other, _LOG_STD + 0.1, seen, actions, inputs) - old).exp()
    assert ratio.std() > 0.1
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / 200)


def test_first_input_is_noise_and_the_last_output_is_spread_by_the_exploring_noise(policy):
    """`x_1` has deviation `sigma_max`; around the network's output actions have that of `noise_log_std`."""
    seen = torch.zeros(20_000, 3)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(4)
        actions, inputs = draw_noisy_actions(policy, _LOG_STD, seen, 1, generator)
        residual = actions - policy.denoise(inputs[:, 0], policy.sigma_max, seen)
    assert float(inputs.std()) == pytest.approx(80.0, rel=0.02)
    torch.testing.assert_close(residual.std(dim=0), _LOG_STD.exp(), rtol=0.03, atol=0.0)


def test_ode_log_prob_of_a_linear_denoiser_is_gaussian():
    """Without a network `D = c_skip x`, the denoiser of `N(0, sigma_data^2)`; noise adds its variance."""
    policy = ConsistencyPolicy(3, 2, hidden_sizes=(8,), sigma_min=1e-5)
    with torch.no_grad():
        policy.mlp[-1].weight.zero_()
        policy.mlp[-1].bias.zero_()
        actions = torch.tensor([[0.0, 0.0], [0.4, -1.2], [1.0, 0.3]])
        log_prob = ode_log_prob(policy, 0.3, torch.zeros(3, 3), actions, 32)
    expected = stats.norm.logpdf(actions.numpy(), 0.0, math.hypot(0.5, 0.3)).sum(axis=1)
    torch.testing.assert_close(log_prob, torch.tensor(expected, dtype=torch.float32), atol=2e-3, rtol=0.0)


def test_denoising_log_prob_matches_a_loop(policy, observation):
    """Against the formula, one action and noise level at a time."""
    generator = torch.Generator().manual_seed(5)
    actions = torch.randn(5, 2, generator=generator)
    sigma = torch.rand(5, 4, generator=generator) + 0.1
    noise = torch.randn(5, 4, 2, generator=generator)
    with torch.no_grad():
        log_prob = denoising_log_prob(policy, observation, actions, sigma, noise)
        for row in range(5):
            losses = []
            for level in range(4):
                s = float(sigma[row, level])
                denoised = policy.denoise(actions[row] + s * noise[row, level], s, observation[row])
                losses.append(float(((denoised - actions[row]) ** 2).sum()) / s**2)
            assert float(log_prob[row]) == pytest.approx(-math.log(80.0 / 0.002) * sum(losses) / 4, rel=1e-4)


def test_denoising_log_prob_bounds_the_density():
    """For a point mass its differences are exact: `log p(a) - log p(b)` of a Gaussian shrinking to it."""
    policy = ConsistencyPolicy(1, 1, hidden_sizes=(8,), sigma_data=1e-4, sigma_min=0.05)
    with torch.no_grad():
        policy.mlp[-1].weight.zero_()
        policy.mlp[-1].bias.zero_()  # now D(x, sigma) is nearly 0: all mass at 0
        actions = torch.tensor([[0.0], [0.3]])
        low, high = math.log(policy.sigma_min), math.log(policy.sigma_max)
        sigma = torch.linspace(low, high, 20_001).exp().expand(2, -1)
        noise = torch.zeros(2, 20_001, 1)
        near, far = denoising_log_prob(policy, torch.zeros(2, 1), actions, sigma, noise)
    assert float(near - far) == pytest.approx(0.5 * (0.3 / 0.05) ** 2, rel=0.01)
