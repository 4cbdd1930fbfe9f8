import math

import pytest
import scipy.integrate
import torch

from distill_rl.policies.consistency import ConsistencyPolicy


@pytest.fixture
def policy() -> ConsistencyPolicy:
    torch.manual_seed(0)
    return ConsistencyPolicy(3, 2, hidden_sizes=(16,))


def test_denoise_at_sigma_min_is_the_identity(policy):
    """D(x, sigma_min, s) = x, for a float and for a tensor of levels."""
    x, observation = torch.randn(5, 2), torch.randn(5, 3)
    assert torch.equal(policy.denoise(x, 0.002, observation), x)
    assert torch.equal(policy.denoise(x, torch.full((5,), 0.002), observation), x)


def test_denoise_with_one_level_agrees_with_a_tensor_of_levels(policy):
    """The broadcast of one float level changes nothing, at sigma_max and elsewhere."""
    x, observation = torch.randn(5, 4, 2), torch.randn(5, 1, 3)
    for sigma in (80.0, 0.7):
        same = policy.denoise(x, sigma, observation)
        each = policy.denoise(x, torch.full((5, 4), sigma), observation.expand(5, 4, 3))
        torch.testing.assert_close(same, each, rtol=1e-4, atol=1e-6)


def test_one_step_is_the_clipped_denoiser_at_sigma_max(policy):
    """one_step = clip(D(80 z, 80, s), -1, 1), and large outputs are clipped."""
    with torch.no_grad():
        policy.mlp[-1].weight.mul_(30.0)
    noise, observation = torch.randn(50, 2), torch.randn(50, 3)
    raw = policy.denoise(80.0 * noise, 80.0, observation)
    torch.testing.assert_close(policy.one_step(observation, noise), raw.clamp(-1, 1))
    assert torch.equal(policy.act(observation), policy.one_step(observation, torch.zeros(50, 2)))
    assert float(raw.detach().abs().max()) > 1.0


def test_act_in_two_steps_follows_the_multistep_sampler(policy):
    """The second call sees x + sqrt(s^2 - s_min^2) z, s the middle of a three-level Karras grid."""
    observation, generator = torch.randn(4, 3), torch.Generator().manual_seed(0)
    first, second = torch.randn(4, 2, generator=generator), torch.randn(4, 2, generator=generator)
    middle = (0.5 * 80 ** (1 / 7) + 0.5 * 0.002 ** (1 / 7)) ** 7
    x = policy.denoise(80.0 * 0.5 * first, 80.0, observation)
    x = policy.denoise(x + (middle**2 - 0.002**2) ** 0.5 * 0.5 * second, middle, observation)
    acted = policy.act(observation, 2, 0.5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(acted, x.clamp(-1, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("backbone", ["mlp", "ln_resnet"])
def test_gradients_flow_through_sampling(backbone, num_steps):
    """They reach every weight and equal finite differences, in one step and in several."""
    torch.manual_seed(0)
    policy = ConsistencyPolicy(3, 2, hidden_sizes=(16, 16), backbone=backbone).double()
    observation = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def sample(seen):
        return policy.sample(seen, num_steps, 0.5, torch.Generator().manual_seed(0))

    sample(observation).sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0.0 for parameter in policy.parameters())
    assert float(observation.grad.abs().max()) > 1e-3
    assert torch.autograd.gradcheck(sample, observation)


def test_ln_resnet_policy_is_the_identity_at_sigma_min_and_within_bounds():
    """The scalings hold whatever the network is, and samples stay in [-1, 1]."""
    torch.manual_seed(0)
    policy = ConsistencyPolicy(3, 2, hidden_sizes=(16, 16), backbone="ln_resnet")
    with torch.no_grad():
        for parameter in policy.mlp.parameters():
            parameter.mul_(4.0)
    x, observation = torch.randn(200, 2), torch.randn(200, 3)
    assert torch.equal(policy.denoise(x, 0.002, observation), x)
    sampled = policy.sample(observation, generator=torch.Generator().manual_seed(0)).detach()
    assert (float(sampled.min()), float(sampled.max())) == (-1.0, 1.0)


@pytest.mark.parametrize("solver", ["heun", "adaptive"])
def test_log_prob_of_a_linear_policy_is_closed_form(policy, solver):
    """Without the network D = c_skip x: a linear ODE, a Gaussian density, its scale by quadrature."""
    with torch.no_grad():
        policy.mlp[-1].weight.zero_()
    actions, observation = torch.randn(6, 2), torch.randn(6, 3)

    def rate(log_sigma):
        return 1.0 - 0.25 / ((math.exp(log_sigma) - 0.002) ** 2 + 0.25)

    growth, _ = scipy.integrate.quad(rate, math.log(0.002), math.log(80.0), limit=200)
    scale = 80.0 / math.exp(growth)  # of the actions that N(0, 80^2) is carried to
    expected = torch.distributions.Normal(0.0, scale).log_prob(actions).sum(-1)
    found = policy.log_prob(observation, actions, solver=solver).detach()
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0.0)


def test_log_prob_sees_the_observation(policy):
    """Each row is judged by its own observation, and Hutchinson's probes come from the generator."""
    actions, observation = torch.zeros(2, 2), torch.tensor([[3.0, 0.0, 0.0], [0.0, -3.0, 1.0]])
    both = policy.log_prob(observation, actions, num_steps=16)
    alone = [policy.log_prob(o[None], a[None], num_steps=16) for o, a in zip(observation, actions)]
    torch.testing.assert_close(both, torch.cat(alone))
    assert both[0] != both[1]
    draws = [
        policy.log_prob(
            observation,
            actions,
            num_steps=16,
            divergence="rademacher",
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    with pytest.raises(ValueError, match="`divergence` must be one of"):
        policy.log_prob(observation, actions, divergence="exakt")


def test_bad_arguments_are_named(policy):
    """Messages name the argument and what came."""
    with pytest.raises(ValueError, match="`num_steps` must be an integer of at least 1, got 0"):
        policy.act(torch.zeros(1, 3), 0)
    with pytest.raises(ValueError, match=r"`sigma_max` must exceed `sigma_min` = 0\.002, got 0\.001"):
        ConsistencyPolicy(3, 2, sigma_max=0.001)
