"""Teacher, reward model and student in one module, and which of them there is."""

import pytest
import torch

from distill_rl.networks.reward import RewardModel
from distill_rl.policies.chunk_networks import PARTS, ChunkNetworks

_SETTINGS = {"horizon": 2, "level_sizes": (8,), "kernel_size": 1, "embedding_size": 8, "sigma_max": 5.0}


def make(seed=0):
    torch.manual_seed(seed)
    return ChunkNetworks(3, 1, policy_settings=_SETTINGS, reward_hidden_sizes=(8,))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_put_in_is_there_and_acts(part):
    """The others are as they were; what there is travels with the weights."""
    networks, other = make(), make(seed=1)
    assert not any(networks.has(name) for name in PARTS)
    networks.put(part, other.part(part))
    assert networks.part(part) is other.part(part)
    assert [networks.has(name) for name in PARTS] == [name == part for name in PARTS]
    loaded = make(seed=2)
    loaded.load_state_dict(networks.state_dict())
    assert [loaded.has(name) for name in PARTS] == [name == part for name in PARTS]
    observation, action = torch.randn(4, 3), torch.randn(4, 1)
    if part == "reward":
        assert torch.equal(loaded.reward_model(observation, action), other.reward_model(observation, action))
    else:
        expected = getattr(other, part).sample(observation, 2, noise_scale=0.0)
        assert torch.equal(getattr(loaded, part).sample(observation, 2, noise_scale=0.0), expected)


def test_the_reward_model_has_the_published_layers():
    """Linear layers and Mish; one prediction for each state and action."""
    model = RewardModel(11, 3)
    sizes = [layer.out_features for layer in model.layers if hasattr(layer, "out_features")]
    assert sizes == [32, 64, 128, 256, 1]
    assert model(torch.zeros(5, 4, 11), torch.zeros(5, 4, 3)).shape == (5, 4)
