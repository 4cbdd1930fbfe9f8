"""Advantage-weighted consistency training, and why its weights must not be negative."""

import pytest
import torch

from distill_rl.policies.consistency import ConsistencyPolicy
from learners.ppo.advantages import advantage_weights
from learners.ppo.consistency_loss import weighted_consistency_loss


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 3, generator=generator), torch.rand(64, 2, generator=generator) * 2 - 1


def _loss(policy, batch, weights, seed=1):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch[1].shape, generator=generator)
    return weighted_consistency_loss(policy, *batch, weights, noise, num_noise_levels=10, generator=generator)


def _policy():
    torch.manual_seed(2)
    return ConsistencyPolicy(3, 2, hidden_sizes=(16,))


def test_weights_weigh_rows(batch):
    """The loss is linear in them, each row counting by its own."""
    policy, ones = _policy(), torch.ones(64)
    first = torch.arange(64) < 10
    parts = _loss(policy, batch, ones * first) + _loss(policy, batch, ones * ~first)
    torch.testing.assert_close(parts, _loss(policy, batch, ones))
    torch.testing.assert_close(_loss(policy, batch, 3.0 * ones), 3.0 * _loss(policy, batch, ones))


def test_loss_of_two_levels_is_the_distance_to_the_action(batch):
    """With levels `sigma_max` and `sigma_min`, where `D(x) = x`: against a loop over rows."""
    policy, (observation, actions) = _policy(), batch
    noise, weights = torch.randn(64, 2), torch.randn(64)
    generator = torch.Generator().manual_seed(0)
    loss = weighted_consistency_loss(
        policy, observation, actions, weights, noise, num_noise_levels=2, generator=generator
    )
    expected = 0.0
    with torch.no_grad():
        for row in range(64):
            denoised = policy.denoise(actions[row] + 80.0 * noise[row], 80.0, observation[row])
            end = actions[row] + policy.sigma_min * noise[row]
            expected += float(weights[row] * (denoised - end).square().sum()) / 64
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_training_carries_noise_to_the_actions_of_large_weight():
    """Of two actions with weights 1 and 0 the one-step map learns the first."""
    policy = ConsistencyPolicy(1, 1, hidden_sizes=(32,))
    observation = torch.zeros(64, 1)
    is_good = (torch.arange(64) < 32).float()
    actions = (is_good * 1.2 - 0.6).unsqueeze(1)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for update in range(800):
        loss = _loss(policy, (observation, actions), is_good, seed=update)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = policy.act(torch.zeros(500, 1), noise_scale=1.0, generator=torch.Generator().manual_seed(3))
    assert float((drawn - 0.6).abs().mean()) < 0.1


@pytest.mark.parametrize(("kind", "is_bounded"), [("linear", False), ("clamp", True), ("exponential", True)])
def test_only_the_linear_loss_falls_without_end(batch, kind, is_bounded):
    """Minimised for long, `A L` runs away; with non-negative weights the loss stays above zero."""
    policy = _policy()
    advantages = torch.randn(64, generator=torch.Generator().manual_seed(4))
    weights = advantage_weights(advantages, kind, 0.5)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for update in range(400):
        loss = _loss(policy, batch, weights, seed=update)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    end = float(loss.detach())
    assert end >= 0.0 if is_bounded else end < -1.0
