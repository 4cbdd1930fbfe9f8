import dataclasses

import pytest
import torch

from distill_rl.networks.world_model import Encoder, WorldModel, WorldModelConfig, simplicial_norm
from distill_rl.policies.distill_networks import DistillNetworks, LatentNetworks, make_networks

CONFIG = WorldModelConfig(enabled=True, latent_size=12, group_size=4, model_hidden_sizes=(16,))


def test_groups_of_a_latent_state_sum_to_one():
    """Each group is the softmax of its own entries."""
    x = torch.randn(5, 3, 12, generator=torch.Generator().manual_seed(0))
    found = simplicial_norm(x, 4)
    torch.testing.assert_close(found.unflatten(-1, (3, 4)).sum(-1), torch.ones(5, 3, 3))
    torch.testing.assert_close(found[..., 4:8], torch.softmax(x[..., 4:8], dim=-1))


def test_one_step_is_what_its_parts_say():
    """Next state, decoded reward, and a discount that falls to 0 where termination is likely."""
    torch.manual_seed(0)
    model = WorldModel(2, CONFIG)
    with torch.no_grad():
        model.reward[-1].weight.normal_()
        model.termination[-1].weight.normal_()
    latent, action = Encoder(7, CONFIG)(torch.randn(40, 7)), torch.rand(40, 2) * 2 - 1
    after, reward, discount = model.step(latent, action)
    joint = torch.cat([latent, action], dim=-1)
    torch.testing.assert_close(after, model.next_latent(latent, action))
    torch.testing.assert_close(reward, model.histogram.decode(model.reward(joint)))
    is_over = torch.sigmoid(model.termination(joint)[:, 0]) > 0.5
    torch.testing.assert_close(discount, 1.0 - is_over.float())
    assert 0 < is_over.sum() < 40


def test_the_smallest_value_counts():
    """Of the value functions, each decoded from its own bins."""
    torch.manual_seed(1)
    model = WorldModel(2, dataclasses.replace(CONFIG, num_values=3))
    with torch.no_grad():
        for value in model.values:
            value[-1].weight.normal_()
    latent, action = torch.rand(6, 12), torch.rand(6, 2)
    each = [model.histogram.decode(value(torch.cat([latent, action], -1))) for value in model.values]
    torch.testing.assert_close(model.q_value(latent, action), torch.stack(each).amin(0))


def test_networks_are_chosen_by_the_model():
    """With a model the policy is conditioned on latent states, and valued by the model at its own action."""
    plain = make_networks(5, 2, {"hidden_sizes": (8,)}, WorldModelConfig())
    latent = make_networks(5, 2, {"hidden_sizes": (8,)}, CONFIG)
    observation = torch.randn(3, 5)
    assert isinstance(plain, DistillNetworks) and isinstance(latent, LatentNetworks)
    assert plain.encode(observation) is observation
    encoded = latent.encode(observation)
    assert encoded.shape == (3, 12) and latent.policy.observation_size == 12
    action = latent.policy.act(encoded)
    torch.testing.assert_close(latent.value(encoded), latent.world_model.q_value(encoded, action))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_size": 10, "group_size": 4}, "`latent_size` must be a multiple of group_size = 4, got 10"),
        ({"num_values": 0}, "`num_values` must be an integer of at least 1"),
        ({"num_model_steps": 0}, "`num_model_steps` must be an integer"),
        ({"model_hidden_sizes": ()}, "`model_hidden_sizes` must be positive widths"),
        ({"step_decay": 1.5}, r"`step_decay` must be within \[0, 1\]"),
        ({"reward_weight": 0.0}, "`reward_weight` must be positive"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    """The setting, what was expected and what came are named."""
    with pytest.raises(ValueError, match=message):
        WorldModelConfig(**settings)
