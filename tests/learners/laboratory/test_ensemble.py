import torch

from distill_rl.policies.consistency import ConsistencyPolicy
from learners.laboratory.ding_jin import DingJinDenoiser
from learners.laboratory.ensemble import Ensemble

RANGE = {"sigma_min": 0.002, "sigma_max": 80.0}


def _ensemble(num_members=3, make_member=lambda: DingJinDenoiser(1, 2), seed=0):
    return Ensemble(make_member, num_members, **RANGE, seed=seed)


def _inputs(rows, noises=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((rows, noises, 2), generator=generator)
    sigma = torch.rand((rows, noises), generator=generator) + 0.1
    return x, sigma, torch.rand((rows, 1, 1), generator=generator)


def _member(ensemble, index, make_member=lambda: DingJinDenoiser(1, 2)):
    alone = make_member()
    own = {name.removeprefix("member."): tensor[index] for name, tensor in ensemble.parameters.items()}
    alone.load_state_dict(own, strict=False)
    return alone


def test_members_see_their_own_rows():
    """Each row's result is that of its member alone: rows are split evenly and in order."""
    for make_member in (lambda: DingJinDenoiser(1, 2), lambda: ConsistencyPolicy(1, 2, hidden_sizes=(8,))):
        ensemble = _ensemble(make_member=make_member)
        x, sigma, observation = _inputs(6)
        found = ensemble.denoise(x, sigma, observation)
        for row in range(6):
            alone = _member(ensemble, row // 2, make_member)
            expected = alone.denoise(x[row], sigma[row], observation[row].expand(4, -1))
            torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_members_differ_and_are_seeded():
    """Members start from weights of their own; a seed settles them all."""
    one, same, other = (_ensemble(seed=seed) for seed in (0, 0, 1))
    weight = one.parameters["member.mlp.0.weight"]
    assert not torch.equal(weight[0], weight[1])
    assert torch.equal(weight, same.parameters["member.mlp.0.weight"])
    assert not torch.equal(weight, other.parameters["member.mlp.0.weight"])


def test_gradients_of_a_row_reach_its_member_only():
    """A loss on one member's rows leaves the others' gradients at zero."""
    ensemble = _ensemble()
    ensemble.denoise(*_inputs(6))[2:4].square().sum().backward()
    for parameter in ensemble.parameters.values():
        assert bool(parameter.grad[1].any())
        assert not bool(parameter.grad[0].any()) and not bool(parameter.grad[2].any())


def test_one_noise_level_for_all():
    """A float is the same as a tensor of it."""
    ensemble = _ensemble()
    x, _, observation = _inputs(3)
    torch.testing.assert_close(
        ensemble.denoise(x, 0.7, observation), ensemble.denoise(x, torch.full((3, 4), 0.7), observation)
    )


def test_one_step_starts_at_the_largest_level():
    """The one-step sample is the consistency function at sigma_max."""
    ensemble = _ensemble()
    noise, _, observation = _inputs(3)
    torch.testing.assert_close(
        ensemble.one_step(observation, noise), ensemble.denoise(80.0 * noise, 80.0, observation)
    )


def test_averaged_copy_is_apart():
    """A change of the copy is not one of the original, and no gradient flows into it."""
    ensemble = _ensemble()
    twin = ensemble.averaged_copy()
    for parameter in twin.parameters.values():
        parameter.zero_()
    assert all(bool(parameter.any()) for parameter in ensemble.parameters.values())
    assert not twin.denoise(*_inputs(3)).requires_grad


def test_ding_jin_network_is_the_identity_at_sigma_min():
    """The boundary condition, whatever the weights; and the network has the layers of the authors' code."""
    member = DingJinDenoiser(3, 2)
    x = torch.rand(5, 2)
    torch.testing.assert_close(member.denoise(x, torch.full((5,), 0.002), torch.rand(5, 3)), x)
    sizes = [(layer.in_features, layer.out_features) for layer in member.mlp if hasattr(layer, "in_features")]
    assert sizes == [(21, 256), (256, 256), (256, 256), (256, 2)]
    embedding = [(layer.in_features, layer.out_features) for layer in member.embedding[::2]]
    assert embedding == [(16, 32), (32, 16)]
