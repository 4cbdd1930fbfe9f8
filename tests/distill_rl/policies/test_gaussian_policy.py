import pytest
import torch

from distill_rl.policies.gaussian import GaussianPolicy


def _make(backbone: str, seed: int = 0) -> GaussianPolicy:
    torch.manual_seed(seed)
    policy = GaussianPolicy(3, 2, hidden_sizes=(16, 16), backbone=backbone)
    policy.normalizer.update(torch.randn(20, 3) * 5.0 + 1.0)
    return policy


@pytest.fixture(params=["mlp", "ln_resnet"])
def policy(request) -> GaussianPolicy:
    return _make(request.param)


def _set_output(policy: GaussianPolicy, values: list[float]) -> None:
    """Makes the network return `values` for every observation."""
    *_, weight, bias = policy.network.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.copy_(torch.tensor(values))


def test_log_prob_equals_that_of_torch_distributions(policy):
    """The sum of independent normal log-densities; one observation serves many actions."""
    observation, actions = torch.randn(5, 1, 3), torch.randn(5, 4, 2)
    mean, log_std = policy.parameters_of(observation)
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(actions).sum(-1)
    found = policy.log_prob(observation, actions)
    assert found.shape == (5, 4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    alone = policy.log_prob(observation[2, 0], actions[2, 3])
    torch.testing.assert_close(found[2, 3], alone, rtol=1e-4, atol=1e-4)


def test_parameters_are_the_halves_of_the_output_squashed():
    """Mean tanh(m), log standard deviation -5 + 5 (tanh(l) + 1) / 2, worked by hand."""
    policy = _make("mlp")
    _set_output(policy, [0.5, -1.0, 0.0, 2.0])
    mean, log_std = policy.parameters_of(torch.randn(3))
    torch.testing.assert_close(mean, torch.tensor([0.4621172, -0.7615942]))
    torch.testing.assert_close(log_std, torch.tensor([-2.5, -0.0899310]), rtol=1e-4, atol=1e-5)


def test_parameters_see_the_normalised_observation(policy):
    """Both are functions of the network on (s - mean) / std."""
    observation = torch.randn(6, 3) * 5.0
    normed = (observation - policy.normalizer.mean) / (policy.normalizer.var + 1e-6).sqrt()
    raw, (mean, log_std) = policy.network(normed), policy.parameters_of(observation)
    torch.testing.assert_close(mean, raw[:, :2].tanh(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(log_std, -5.0 + 5.0 * torch.sigmoid(2.0 * raw[:, 2:]), rtol=1e-4, atol=1e-5)


def test_log_std_stays_within_its_bounds(policy):
    """No output of the network leads out of [-5, 0], and the ends are reached."""
    _set_output(policy, [0.0, 0.0, -100.0, 100.0])
    _, log_std = policy.parameters_of(torch.randn(3))
    torch.testing.assert_close(log_std, torch.tensor([-5.0, 0.0]))


def test_sample_is_mean_plus_scaled_noise_clipped(policy):
    """clip(mean + scale std z, -1, 1), the mean without noise; `num_steps` changes nothing."""
    observation = torch.randn(500, 3)
    mean, log_std = policy.parameters_of(observation)
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(4))
    half = policy.sample(observation, 9, 0.5, torch.Generator().manual_seed(4))
    torch.testing.assert_close(half, (mean + 0.5 * log_std.exp() * z).clamp(-1.0, 1.0))
    torch.testing.assert_close(policy.act(observation), mean.detach())
    full = policy.sample(observation, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(full, (mean + log_std.exp() * z).clamp(-1.0, 1.0))


def test_samples_are_within_bounds(policy):
    """With the widest spread both ends are reached and none is left."""
    _set_output(policy, [0.0, 0.0, 100.0, 100.0])
    sampled = policy.sample(torch.randn(200, 3), generator=torch.Generator().manual_seed(0)).detach()
    assert (float(sampled.min()), float(sampled.max())) == (-1.0, 1.0)


def test_gradients_flow_through_sampling(policy):
    """With a = mean + std z unclipped, da/dmean = 1 and da/dlog_std = a - mean."""
    _set_output(policy, [0.1, -0.2, -0.5, -0.3])
    *_, bias = policy.network.parameters()
    sampled = policy.sample(torch.randn(3), generator=torch.Generator().manual_seed(0))
    sampled.sum().backward()
    raw = bias.detach()
    squash_slope = 1.0 - raw.tanh() ** 2
    distance = sampled.detach() - raw[:2].tanh()
    expected = torch.cat([squash_slope[:2], distance * 2.5 * squash_slope[2:]])
    torch.testing.assert_close(bias.grad, expected, rtol=1e-4, atol=1e-5)


def test_actions_of_another_rank_are_refused():
    """One action for each of five states, and not each for each."""
    policy = GaussianPolicy(3, 2, hidden_sizes=(8,))
    with pytest.raises(ValueError, match=r"`actions` must have shape \[any, 2\], got \[5, 1, 2\]"):
        policy.log_prob(torch.zeros(5, 3), torch.zeros(5, 1, 2))
