"""What every policy of single actions keeps, of whatever kind and network."""

import pytest
import torch

from distill_rl.policies.kinds import POLICY_KINDS, make_policy


def make(kind, backbone, seed=0):
    torch.manual_seed(seed)
    sizes = {"observation_size": 3, "action_size": 2, "hidden_sizes": (16, 16)}
    policy = make_policy(kind, backbone=backbone, **sizes)
    policy.normalizer.update(torch.randn(20, 3) * 5.0 + 1.0)
    return policy


@pytest.fixture(params=[(kind, backbone) for kind in POLICY_KINDS for backbone in ("mlp", "ln_resnet")])
def architecture(request):
    return request.param


@pytest.fixture
def policy(architecture):
    return make(*architecture)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_is_of_the_generator(policy):
    """Scale 0 draws nothing; equal seeds give equal actions, other seeds others."""
    observation, generator = torch.randn(6, 3), seeded()
    before = generator.get_state()
    assert torch.equal(policy.act(observation, 1, 0.0, generator), policy.act(observation, 1, 0.0))
    assert torch.equal(generator.get_state(), before)
    draws = [policy.act(observation, 2, 1.0, seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2], atol=1e-3)


def test_act_is_sample_without_gradients(policy):
    """By default without noise, where `sample` has all of it."""
    observation = torch.randn(6, 3)
    sampled = policy.sample(observation, generator=seeded())
    acted = policy.act(observation, 1, 1.0, seeded())
    assert torch.equal(acted, sampled.detach())
    assert sampled.requires_grad and not acted.requires_grad
    assert torch.equal(policy.act(observation), policy.sample(observation, noise_scale=0.0).detach())


@pytest.mark.parametrize("leading", [(), (4,), (4, 2)])
def test_actions_have_the_leading_axes_of_observations(policy, leading):
    """`[..., O]` gives `[..., A]`, each row as alone."""
    observation = torch.randn(*leading, 3)
    acted = policy.act(observation)
    assert acted.shape == (*leading, 2)
    assert policy.act(observation, noise_scale=1.0).shape == (*leading, 2)
    flat = torch.stack([policy.act(row) for row in observation.reshape(-1, 3)])
    torch.testing.assert_close(acted.reshape(-1, 2), flat, rtol=1e-4, atol=1e-5)


def test_observations_of_another_size_are_refused(policy):
    """Also one entry, which would be repeated in silence."""
    for size in (1, 4):
        with pytest.raises(ValueError, match=rf"must have shape \[..., 3\], got \[5, {size}\]"):
            policy.act(torch.zeros(5, size))


def test_gradients_of_samples_reach_every_weight(policy):
    policy.sample(torch.randn(50, 3), generator=seeded()).sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0.0 for parameter in policy.parameters())


def test_weights_and_normaliser_bring_the_policy_back(architecture):
    """Nothing else is in its state: schedules and embeddings follow from the architecture."""
    policy, other, observation = make(*architecture), make(*architecture, seed=1), torch.randn(6, 3)
    assert not torch.allclose(other.act(observation), policy.act(observation), atol=1e-3)
    state = policy.state_dict()
    network = "mlp" if architecture[0] == "consistency" else "network"
    assert {name.split(".")[0] for name in state} == {"normalizer", network}
    other.load_state_dict(state)
    assert torch.equal(other.act(observation), policy.act(observation))


@pytest.mark.parametrize("kind", POLICY_KINDS)
def test_an_unknown_backbone_is_named(kind):
    with pytest.raises(ValueError, match="`backbone` must be one of ln_resnet, mlp; got 'unet'"):
        make(kind, "unet")
