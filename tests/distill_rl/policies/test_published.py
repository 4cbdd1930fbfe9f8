"""Policies as messages: what is published acts like what was trained, and nothing damaged acts at all."""

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.policies.description import describe_policy
from distill_rl.policies.distill_networks import make_networks
from distill_rl.policies.published import decode_policy, encode_policy
from distill_rl.storage.framing import WireError, seal, unseal

_MAX_BYTES = 1 << 22
_METADATA = {"env": "dm_control/cartpole-swingup-v0", "env_config": {}, "action_repeat": 4}


def _make(with_model=False):
    torch.manual_seed(1)
    world_model = WorldModelConfig(enabled=with_model, latent_size=8, group_size=4, model_hidden_sizes=(8,))
    return make_networks(5, 2, {"hidden_sizes": (8,)}, world_model).eval()


def _message(networks, policy_version=7, **changes):
    weights = {f"networks.{name}": tensor.numpy() for name, tensor in networks.state_dict().items()}
    description = describe_policy(networks.policy, dict(_METADATA), networks.encoder)
    return encode_policy(policy_version, description | changes.pop("description", {}), weights | changes)


@pytest.mark.parametrize("with_model", [False, True])
def test_published_policy_acts_as_the_trained_one(with_model):
    """The policy, its encoder and its normaliser come back; so do all other weights."""
    networks = _make(with_model)
    published = decode_policy(_message(networks), _MAX_BYTES)
    observation = np.random.default_rng(0).standard_normal((4, 5), dtype=np.float32)
    seen = networks.encode(torch.from_numpy(observation))
    with torch.inference_mode():
        expected = networks.policy.one_step(seen, torch.zeros(4, 2)).numpy()
    np.testing.assert_allclose(published.to_policy().act(observation), expected, atol=1e-6)
    assert published.policy_version == 7
    assert published.to_policy().metadata == _METADATA
    assert {name.removeprefix("networks.") for name in published.weights} == set(networks.state_dict())


_GOOD = _message(_make())


@given(st.integers(0, len(_GOOD) - 1), st.integers(1, 255), st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_policy_is_refused(place, change, is_cut):
    """A flipped byte or a cut raises `WireError`, wherever it is."""
    damaged = bytearray(_GOOD)
    if is_cut:
        del damaged[place:]
    else:
        damaged[place] ^= change
    with pytest.raises(WireError):
        decode_policy(bytes(damaged), _MAX_BYTES)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"networks.policy.normalizer.mean": np.full(5, np.nan, np.float32)}, "weights must be finite"),
        ({"description": {"kind": "oracle"}}, "must hold a policy of kind"),
        ({"description": {"format_version": 99}}, "format version up to"),
        ({"description": {"architecture": {}}}, "it lacks observation_size"),
        ({"description": {"architecture": 3}}, "architecture must be a map, got int"),
        ({"description": {"metadata": [1]}}, "metadata must be a map, got list"),
        ({"policy_version": -1}, "`policy_version` must be"),
    ],
)
def test_wrong_content_is_refused(changes, expected):
    """A whole message with a wrong content is refused with its name."""
    with pytest.raises(WireError, match=expected):
        decode_policy(_message(_make(), **changes), _MAX_BYTES)


def test_weights_that_numpy_cannot_hold_are_refused():
    """Whoever receives them goes on with the policy before."""
    header, _ = unseal(b"DRLP", _GOOD, _MAX_BYTES)
    weights = {"networks.policy.weight": torch.zeros(2, dtype=torch.bfloat16)}
    message = seal(b"DRLP", header, [safetensors.torch.save(weights)])
    with pytest.raises(WireError, match="weights must have dtypes that numpy has, got 'BF16'"):
        decode_policy(message, _MAX_BYTES)


def test_weights_of_another_architecture_are_refused():
    """Weights that do not fit the description do not become a policy."""
    architecture = describe_policy(_make().policy, {})["architecture"] | {"hidden_sizes": (9,)}
    published = decode_policy(_message(_make(), description={"architecture": architecture}), _MAX_BYTES)
    with pytest.raises(WireError, match="does not fit"):
        published.to_policy()
    with pytest.raises(WireError, match="at most 10 bytes"):
        decode_policy(_GOOD, 10)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_policy_outlives_its_message(kind):
    """What was decoded stays as it was, whatever becomes of the memory that it came in, or comes next."""
    networks = _make()
    expected = {f"networks.{name}": tensor.numpy().copy() for name, tensor in networks.state_dict().items()}
    buffer = bytearray(_message(networks))
    published = decode_policy(bytes(buffer) if kind is bytes else kind(buffer), _MAX_BYTES)
    acting = published.to_policy()
    before = acting.act(np.ones(5, np.float32))
    buffer[:] = bytes(len(buffer))
    decode_policy(_message(_make(with_model=True)), _MAX_BYTES)
    for name, array in published.weights.items():
        np.testing.assert_array_equal(array, expected[name])
        assert not array.flags.writeable
    np.testing.assert_array_equal(acting.act(np.ones(5, np.float32)), before)
    np.testing.assert_array_equal(published.to_policy().act(np.ones(5, np.float32)), before)


def test_weights_travel_as_safetensors():
    """What the library reads is what was written, whatever the types, shapes and layouts."""
    generator = np.random.default_rng(0)
    weights = {
        "half": generator.normal(size=3).astype(np.float16),
        "turned": generator.normal(size=(4, 3)).T,
        "empty": np.zeros((0, 2), np.float32),
        "flag": np.array([True, False, True]),
        "byte": np.arange(5, dtype=np.uint8),
        "count": 7,
    }
    _, payload = unseal(b"DRLP", encode_policy(1, {}, weights), _MAX_BYTES)
    found = safetensors.numpy.load(bytes(payload))
    assert set(found) == set(weights)
    for name, value in weights.items():
        assert found[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(found[name], value)
        assert found[name].shape == np.shape(value)
