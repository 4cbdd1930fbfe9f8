"""The networks of an actor-critic: Pop-Art keeps predictions where they are."""

import pytest
import torch

from distill_rl.policies.actor_critic import ActorCriticNetworks


@pytest.fixture
def networks():
    torch.manual_seed(0)
    networks = ActorCriticNetworks(3, 2, hidden_sizes=(8,))
    with torch.no_grad():
        networks.value_network[-1].weight.normal_()
    return networks


def test_new_statistics_keep_values_in_reward_units(networks):
    """The last layer moves with the scale; what is predicted in its units changes."""
    observation = torch.randn(6, 3)
    before, scaled_before = networks.value(observation), networks.scaled_value(observation)
    networks.update_value_scale(torch.tensor(120.0), torch.tensor(120.0**2 + 30.0**2))
    torch.testing.assert_close(networks.value(observation), before, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(networks.scaled_value(observation), scaled_before, atol=0.1)


def test_scaled_targets_have_mean_zero_and_deviation_one(networks):
    """After the first batch the statistics are those of that batch."""
    targets = 50.0 + 7.0 * torch.randn(10_000)
    networks.update_value_scale(targets.mean(), targets.square().mean())
    scaled = networks.scale_targets(targets)
    assert float(scaled.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(scaled.std()) == pytest.approx(1.0, abs=1e-3)


def test_statistics_forget_early_batches(networks):
    """After many batches of another level nothing is left of the first."""
    networks.update_value_scale(torch.tensor(0.0), torch.tensor(1.0))
    for _ in range(80):
        networks.update_value_scale(torch.tensor(10.0), torch.tensor(104.0))
    assert float(networks.value_mean) == pytest.approx(10.0, abs=0.02)
    assert float(networks.value_scale) == pytest.approx(2.0, abs=0.05)


def test_noise_std_must_be_positive():
    """The message names the setting and what came."""
    with pytest.raises(ValueError, match="`noise_std` must be positive, got -1"):
        ActorCriticNetworks(3, 2, noise_std=-1.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite_are_ignored(networks, bad):
    """One broken batch does not break all values from there on."""
    networks.update_value_scale(torch.tensor(3.0), torch.tensor(13.0))
    before = {name: buffer.clone() for name, buffer in networks.state_dict().items()}
    networks.update_value_scale(torch.tensor(bad), torch.tensor(13.0))
    networks.update_value_scale(torch.tensor(3.0), torch.tensor(bad))
    assert all(torch.equal(buffer, before[name]) for name, buffer in networks.state_dict().items())
