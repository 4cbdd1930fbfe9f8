import pytest

from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy
from distill_rl.policies.kinds import POLICY_KINDS, architecture_of, kind_of, make_policy

_SETTINGS = {
    "consistency": (ConsistencyPolicy, {"sigma_min": 0.01, "sigma_max": 40.0, "sigma_data": 0.7}),
    "diffusion": (DiffusionPolicy, {"num_diffusion_steps": 3}),
    "gaussian": (GaussianPolicy, {}),
}


def test_there_are_three_kinds():
    """The names that configurations and saved policies use."""
    assert set(POLICY_KINDS) == set(_SETTINGS)


@pytest.mark.parametrize("kind", POLICY_KINDS)
def test_a_policy_is_built_again_from_its_architecture(kind):
    """Class, name and every argument make the round trip."""
    policy_type, own = _SETTINGS[kind]
    settings = {
        "observation_size": 3,
        "action_size": 2,
        "hidden_sizes": (8, 8),
        "backbone": "ln_resnet",
        **own,
    }
    policy = make_policy(kind, **settings)
    assert type(policy) is policy_type and kind_of(policy) == kind
    assert {name: getattr(policy, name) for name in architecture_of(kind)} == settings
    again = make_policy(kind, **{name: getattr(policy, name) for name in architecture_of(kind)})
    shapes = [{name: tensor.shape for name, tensor in p.state_dict().items()} for p in (policy, again)]
    assert shapes[0] == shapes[1]


def test_what_is_none_of_them_is_named():
    """A name, and an object that only inherits from one."""
    for function in (architecture_of, make_policy):
        with pytest.raises(ValueError, match=r"`kind` must be one of .*did you mean 'gaussian'"):
            function("gausian")

    class Other(GaussianPolicy):
        pass

    with pytest.raises(ValueError, match=r"must be of kind consistency, .*chunk_diffusion, got Other"):
        kind_of(Other(3, 2))
