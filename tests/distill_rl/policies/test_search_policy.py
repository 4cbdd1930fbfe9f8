"""Networks as a search sees them: which network each value comes from, and where noise does."""

import numpy as np
import pytest
import torch

from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.policies.distill_networks import DistillNetworks, make_networks
from distill_rl.policies.offline_networks import OfflineNetworks
from distill_rl.policies.search_policy import make_search_policy

_OBSERVATION = np.random.default_rng(0).normal(size=(5, 3))
_ACTION = np.random.default_rng(1).uniform(-1.0, 1.0, (5, 2))
_MODEL = WorldModelConfig(enabled=True, latent_size=8, group_size=4, model_hidden_sizes=(8,))


def make_student(world_model=None):
    torch.manual_seed(0)
    return make_networks(3, 2, {"hidden_sizes": (8,)}, world_model or WorldModelConfig())


def make_actor_critic(kind="consistency", with_critic=True):
    torch.manual_seed(0)
    settings = {"hidden_sizes": (8,)}
    return OfflineNetworks(3, 2, kind=kind, policy_settings=settings, with_critic=with_critic)


def seen(array):
    return torch.from_numpy(array).float()


@pytest.mark.parametrize("networks", [make_student(), make_actor_critic(), make_actor_critic("diffusion")])
def test_noise_is_of_the_callers_generator(networks):
    """Seeded alike, drawn alike, whatever torch's own generator does; without noise nothing is drawn."""
    policy = make_search_policy(networks)
    first = policy.act(_OBSERVATION, 1.0, np.random.default_rng(7))
    torch.manual_seed(99)
    np.testing.assert_array_equal(policy.act(_OBSERVATION, 1.0, np.random.default_rng(7)), first)
    assert not np.array_equal(policy.act(_OBSERVATION, 1.0, np.random.default_rng(8)), first)
    assert first.dtype == np.float32 and first.shape == (5, 2)
    if isinstance(networks, DistillNetworks):  # which keeps numpy's own draws
        noise = np.random.default_rng(7).standard_normal((5, 2), dtype=np.float32)
        expected = networks.policy.one_step(seen(_OBSERVATION), torch.from_numpy(noise))
        np.testing.assert_array_equal(first, expected.detach().numpy())
    still = policy.act(_OBSERVATION, 0.0, np.random.default_rng(7))
    np.testing.assert_array_equal(still, networks.policy.act(seen(_OBSERVATION)).numpy())


def test_a_student_values_states_by_its_value_network():
    networks = make_student()
    torch.nn.init.normal_(networks.value.mlp[-1].weight)
    expected = networks.value.value(seen(_OBSERVATION)).detach().numpy()
    np.testing.assert_array_equal(make_search_policy(networks).value(_OBSERVATION), expected)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_a_critic_values_states_by_the_zero_noise_action(num_steps):
    """The smallest of its members, at the action of as many steps as acting takes."""
    networks = make_actor_critic()
    policy = make_search_policy(networks, num_steps)
    expected = networks.critic(seen(_OBSERVATION), seen(_ACTION)).min(dim=0).values
    np.testing.assert_array_equal(policy.q_value(_OBSERVATION, _ACTION), expected.detach().numpy())
    action = networks.policy.act(seen(_OBSERVATION), num_steps, 0.0).numpy()
    np.testing.assert_array_equal(policy.value(_OBSERVATION), policy.q_value(_OBSERVATION, action))


def test_a_learned_model_is_searched_in_its_latent_states():
    """Encoding, steps and values are those of the model; the policy acts in latent states."""
    networks = make_student(_MODEL)
    for part in (networks.world_model.reward, networks.world_model.termination):
        torch.nn.init.normal_(part[-1].weight)
    policy, model = make_search_policy(networks), networks.world_model
    assert (policy.latent_size, policy.action_size) == (8, 2)
    latent = policy.encode(_OBSERVATION)
    np.testing.assert_array_equal(latent, networks.encoder(seen(_OBSERVATION)).detach().numpy())
    found, expected = policy.step(latent, _ACTION), model.step(torch.from_numpy(latent), seen(_ACTION))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other.detach().numpy())
    assert [part.dtype for part in found] == [np.float32, np.float64, np.float64]
    action = policy.act(latent, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(policy.value(latent), policy.q_value(latent, action))


def test_an_actor_without_a_critic_cannot_be_searched_with():
    with pytest.raises(ValueError, match="`networks` must have a critic to search with, got none"):
        make_search_policy(make_actor_critic(with_critic=False))
