import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.networks.world_model import Encoder, WorldModelConfig
from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy
from distill_rl.policies.loading import find_policy_folder, load_policy, save_policy
from distill_rl.storage.checkpoints import CheckpointError, CheckpointStore

_NEEDED = ("metadata", "weights_sha256")
_MAPS = ("architecture", "metadata", "encoder", "critic")


@pytest.fixture
def policy() -> ConsistencyPolicy:
    torch.manual_seed(0)
    policy = ConsistencyPolicy(3, 2, hidden_sizes=(8, 4), sigma_max=40.0)
    policy.normalizer.update(torch.randn(20, 3) * 5.0)
    return policy


@pytest.fixture
def folder(policy, tmp_path):
    return save_policy(policy, tmp_path / "policy", {"env": "dm_control/cheetah-run-v0", "action_repeat": 2})


def test_loaded_policy_acts_as_the_saved_one(policy, folder):
    """Weights, normaliser, architecture and metadata survive the round trip."""
    loaded = load_policy(folder)
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    expected = policy.act(torch.from_numpy(observation), 2, 0.5, torch.Generator().manual_seed(7)).numpy()
    np.testing.assert_array_equal(loaded.act(observation, 2, 0.5, seed=7), expected)
    assert loaded.metadata == {"env": "dm_control/cheetah-run-v0", "action_repeat": 2}


def test_one_observation_gives_one_action(folder):
    """[O] gives [A], equal to the row of a batch."""
    loaded, observation = load_policy(folder), np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(loaded.act(observation[1]), loaded.act(observation)[1], atol=1e-6)
    assert loaded.act(observation[1]).shape == (2,)


def test_calls_without_a_seed_draw_fresh_noise(folder):
    """The policy's own stream moves on, and starts the same after each load."""
    loaded, observation = load_policy(folder), np.zeros(3)
    first, second = loaded.act(observation, noise_scale=1.0), loaded.act(observation, noise_scale=1.0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(load_policy(folder).act(observation, noise_scale=1.0), first)


def test_wrong_observation_shape_is_named(folder):
    """The message gives both accepted shapes and the one that came."""
    with pytest.raises(ValueError, match=r"`observation` must have shape \[3\] or \[B, 3\], got \[2, 4\]"):
        load_policy(folder).act(np.zeros((2, 4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_is_refused(folder, bad):
    """No action comes of it, rather than one that is not finite either."""
    with pytest.raises(ValueError, match=r"`observation` must be finite, got 1 .* first at \(1, 2\)"):
        load_policy(folder).act(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, bad]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "`num_steps` must be an integer of at least 1, got 0"),
        ({"noise_scale": -0.5}, "`noise_scale` must not be negative, got -0.5"),
        ({"noise_scale": float("nan")}, "`noise_scale` must not be negative, got nan"),
    ],
)
def test_settings_of_acting_out_of_range_are_named(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        load_policy(folder).act(np.zeros(3), **settings)


def test_policy_is_found_from_a_run_its_checkpoints_and_a_checkpoint(policy, tmp_path):
    """The one-line `latest` pointer leads from a run folder to the newest checkpoint's policy."""
    for step in (1, 2):
        save_policy(policy, tmp_path / "checkpoints" / f"checkpoint_{step}" / "policy", {})
    (tmp_path / "checkpoints" / "latest").write_text("checkpoint_2\n")
    expected = tmp_path / "checkpoints" / "checkpoint_2" / "policy"
    for path in (tmp_path, tmp_path / "checkpoints", expected.parent, expected):
        assert find_policy_folder(path) == expected


def test_missing_policy_is_named(tmp_path):
    """An empty folder and a missing one give the same clear message."""
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ValueError, match="must hold a policy"):
            load_policy(path)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_weights_are_named(folder, damage):
    """A flipped bit, a cut file and a missing file are each reported with the file's name."""
    weights = folder / "policy.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
        weights.write_bytes(content)
    elif damage == "truncate":
        weights.write_bytes(content[:-10])
    else:
        weights.unlink()
    with pytest.raises(ValueError, match=r"policy\.safetensors` (is damaged|must hold)"):
        load_policy(folder)


def test_damaged_description_is_named(folder):
    """Broken JSON, a lacking key and another format version are each reported."""
    path = folder / "policy.json"
    good = json.loads(path.read_text())
    cases = [
        ("{", "is damaged"),
        *((json.dumps({k: v for k, v in good.items() if k != lost}), f"lacks {lost}") for lost in _NEEDED),
        (json.dumps(good | {"metadata": None}), "lacks metadata"),
        *((json.dumps(good | {part: [1]}), f"{part} must be a map, got list") for part in _MAPS),
        (json.dumps(good | {"format_version": 9}), "must have a format version up to 3, got 9"),
        (json.dumps(good | {"architecture": good["architecture"] | {"action_size": 5}}), "does not fit"),
    ]
    for text, message in cases:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_policy(folder)


def test_loading_does_not_import_ray(folder):
    """A deployed policy needs torch and numpy only."""
    code = (
        "import sys; from distill_rl import load_policy; import numpy as np;"
        f"load_policy({str(folder)!r}).act(np.zeros(3));"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_policy_brings_its_encoder(tmp_path):
    """It acts on observations through latent states; a damaged description of it is named."""
    torch.manual_seed(0)
    config = WorldModelConfig(latent_size=8, group_size=4, model_hidden_sizes=(6,), reward_weight=9.0)
    encoder, policy = Encoder(3, config), ConsistencyPolicy(8, 2, hidden_sizes=(8,))
    encoder.normalizer.update(torch.randn(20, 3) * 5.0)
    folder = save_policy(policy, tmp_path / "policy", {}, encoder)
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with torch.no_grad():
        expected = policy.act(encoder(torch.from_numpy(observation))).numpy()
    np.testing.assert_allclose(load_policy(folder).act(observation), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"must have shape \[3\] or \[B, 3\], got \[5, 8\]"):
        load_policy(folder).act(np.zeros((5, 8)))
    description = json.loads((folder / "policy.json").read_text())
    lacking = {name: value for name, value in description["encoder"].items() if name != "latent_size"}
    (folder / "policy.json").write_text(json.dumps(description | {"encoder": lacking}))
    with pytest.raises(ValueError, match=r"policy\.json` is damaged: it lacks encoder latent_size"):
        load_policy(folder)
    uneven = description["encoder"] | {"group_size": 3}
    (folder / "policy.json").write_text(json.dumps(description | {"encoder": uneven}))
    with pytest.raises(ValueError, match=r"policy\.json` is damaged: `latent_size` must be a multiple"):
        load_policy(folder)
    (folder / "policy.json").write_text(json.dumps(description | {"encoder": None}))
    with pytest.raises(ValueError, match="only one of them has the encoder"):
        load_policy(folder)


@pytest.mark.parametrize("backbone", ["mlp", "ln_resnet"])
@pytest.mark.parametrize(
    ("policy_type", "kind", "settings"),
    [
        (ConsistencyPolicy, "consistency", {"sigma_min": 0.01, "sigma_max": 40.0, "sigma_data": 0.7}),
        (DiffusionPolicy, "diffusion", {"num_diffusion_steps": 3}),
        (GaussianPolicy, "gaussian", {}),
    ],
)
def test_each_kind_and_backbone_acts_as_the_saved_one(tmp_path, policy_type, kind, settings, backbone):
    """The type, its settings, its network and its normaliser survive, with noise and without."""
    torch.manual_seed(0)
    policy = policy_type(3, 2, hidden_sizes=(8, 8), backbone=backbone, **settings)
    policy.normalizer.update(torch.randn(20, 3) * 5.0)
    folder = save_policy(policy, tmp_path / "policy", {"step": 7})
    loaded, observation = load_policy(folder), np.random.default_rng(0).normal(size=(5, 3))
    assert type(loaded.policy) is policy_type and loaded.metadata == {"step": 7}
    described = {"hidden_sizes": (8, 8), "backbone": backbone, **settings}
    assert {name: getattr(loaded.policy, name) for name in described} == described
    for noise_scale in (0.0, 1.0):
        expected = policy.act(
            torch.from_numpy(observation).float(), 2, noise_scale, torch.Generator().manual_seed(7)
        )
        np.testing.assert_array_equal(loaded.act(observation, 2, noise_scale, seed=7), expected.numpy())
    description = json.loads((folder / "policy.json").read_text())
    assert (description["format_version"], description["kind"]) == (3, kind)


@pytest.mark.parametrize("policy_type", [DiffusionPolicy, GaussianPolicy])
def test_policies_of_other_kinds_bring_their_encoder(tmp_path, policy_type):
    """They act on observations through latent states too."""
    torch.manual_seed(0)
    encoder = Encoder(3, WorldModelConfig(latent_size=8, group_size=4, model_hidden_sizes=(6,)))
    policy = policy_type(8, 2, hidden_sizes=(8,))
    loaded = load_policy(save_policy(policy, tmp_path / "policy", {}, encoder))
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with torch.no_grad():
        expected = policy.act(encoder(torch.from_numpy(observation))).numpy()
    np.testing.assert_allclose(loaded.act(observation), expected, atol=1e-6)


@pytest.mark.parametrize("version", [1, 2])
def test_policies_of_older_formats_are_read(policy, folder, version):
    """They had no kind and no backbone, the first no word about encoders: consistency policies of an MLP."""
    description = json.loads((folder / "policy.json").read_text())
    del description["kind"], description["architecture"]["backbone"]
    if version == 1:
        del description["encoder"]
    (folder / "policy.json").write_text(json.dumps(description | {"format_version": version}))
    loaded, observation = load_policy(folder), np.random.default_rng(0).normal(size=(5, 3))
    assert loaded.encoder is None and type(loaded.policy) is ConsistencyPolicy
    expected = policy.act(torch.from_numpy(observation).float()).numpy()
    np.testing.assert_array_equal(loaded.act(observation), expected)


@pytest.mark.parametrize("kind", ["flow", "Gaussian", None, ["gaussian"]])
def test_unknown_kind_is_refused(folder, kind):
    """The message names the file, the kinds there are and what came."""
    path = folder / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": kind}))
    message = r"policy\.json` must hold a policy of kind consistency, .*chunk_diffusion, got "
    with pytest.raises(ValueError, match=message + re.escape(repr(kind))):
        load_policy(folder)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("diffusion", {}, r"policy\.json` is damaged: it lacks num_diffusion_steps"),
        ("gaussian", {}, r"policy\.safetensors` does not fit policy\.json"),
        ("consistency", {"backbone": "ln_resnet"}, r"policy\.json` is damaged: `hidden_sizes` must be alike"),
        ("consistency", {"backbone": "unet"}, r"policy\.json` is damaged: `backbone` must be one of"),
        ("consistency", {"sigma_max": 0.0}, r"policy\.json` is damaged: `sigma_max` must exceed"),
        ("consistency", {"action_size": "two"}, r"policy\.json` is damaged"),
        ("consistency", {"action_size": -1}, r"policy\.json` (is damaged|does not fit)"),
    ],
)
def test_description_of_another_policy_is_refused(folder, kind, change, message):
    """What cannot be built, or does not suit the weights, is reported with the file's name."""
    path = folder / "policy.json"
    description = json.loads(path.read_text())
    architecture = description["architecture"] | change
    path.write_text(json.dumps(description | {"kind": kind, "architecture": architecture}))
    with pytest.raises(ValueError, match=message):
        load_policy(folder)


def test_unknown_fields_of_the_architecture_are_passed_over(policy, folder):
    """Loading takes known fields only."""
    path = folder / "policy.json"
    description = json.loads(path.read_text())
    description["architecture"]["colour"] = "blue"
    path.write_text(json.dumps(description))
    observation = np.zeros((1, 3), np.float32)
    expected = policy.act(torch.from_numpy(observation)).numpy()
    np.testing.assert_array_equal(load_policy(folder).act(observation), expected)


@pytest.fixture
def critic() -> QEnsemble:
    torch.manual_seed(1)
    critic = QEnsemble(3, 2, hidden_sizes=(8, 6), num_members=3)
    critic.normalizer.update(torch.randn(20, 3) * 5.0)
    return critic


def test_a_policy_brings_its_critic(policy, critic, tmp_path):
    """Members, widths, weights and normaliser survive, and it chooses among candidates as before."""
    loaded = load_policy(save_policy(policy, tmp_path / "policy", {}, critic=critic))
    assert (loaded.critic.hidden_sizes, loaded.critic.num_members) == ((8, 6), 3)
    assert not any(parameter.requires_grad for parameter in loaded.critic.parameters())
    observation, action = torch.randn(50, 3), torch.randn(50, 2)
    assert torch.equal(loaded.critic(observation, action), critic(observation, action).detach())
    generator = torch.Generator().manual_seed(7)
    expected = act_by_value(policy, critic, observation, 4, 2, 0.5, generator).numpy()
    found = loaded.act(observation.numpy(), 2, 0.5, seed=7, num_candidates=4)
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(loaded.act(observation.numpy(), 2, 0.5, seed=7), expected)


def test_a_critic_values_actions_in_latent_states(tmp_path):
    """It sees what the policy is conditioned on."""
    torch.manual_seed(0)
    encoder = Encoder(3, WorldModelConfig(latent_size=8, group_size=4, model_hidden_sizes=(6,)))
    policy, critic = ConsistencyPolicy(8, 2, hidden_sizes=(8,)), QEnsemble(8, 2, hidden_sizes=(8,))
    loaded = load_policy(save_policy(policy, tmp_path / "policy", {}, encoder, critic))
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with torch.no_grad():
        seen = encoder(torch.from_numpy(observation))
    expected = act_by_value(policy, critic, seen, 4, 1, 1.0, torch.Generator().manual_seed(7)).numpy()
    found = loaded.act(observation, noise_scale=1.0, seed=7, num_candidates=4)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_policy_acts_as_its_metadata_say(policy, critic, tmp_path):
    """Steps, noise and candidates saved as `acting` are the defaults; what is given explicitly wins."""
    acting = {"num_steps": 2, "noise_scale": 0.5, "num_candidates": 4}
    loaded = load_policy(save_policy(policy, tmp_path / "policy", {"acting": acting}, critic=critic))
    observation = torch.randn(50, 3)

    def chosen(num_candidates, num_steps, noise_scale):
        generator = torch.Generator().manual_seed(7)
        settings = (num_steps, noise_scale, generator)
        if num_candidates == 1:
            return policy.act(observation, *settings).numpy()
        return act_by_value(policy, critic, observation, num_candidates, *settings).numpy()

    for explicit in (
        {},
        {"num_steps": 1},
        {"noise_scale": 0.0},
        {"num_candidates": 1},
        {"num_candidates": 3},
    ):
        expected = chosen(**(acting | explicit))
        np.testing.assert_array_equal(loaded.act(observation.numpy(), seed=7, **explicit), expected)
    assert loaded.metadata == {"acting": acting}


def test_weights_that_are_not_finite_are_not_saved(policy, tmp_path):
    """The tensor is named, and a run can go on: its checkpoint is refused, the earlier ones stay."""
    store = CheckpointStore(tmp_path)
    store.save(0, lambda folder: save_policy(policy, folder / "policy", {}), {})
    with torch.no_grad():
        policy.mlp[0].weight[0, 1] = torch.nan
    message = r"`mlp\.0\.weight` must be finite, got 1 non-finite values, first at \(0, 1\)"
    with pytest.raises(ValueError, match=message):
        save_policy(policy, tmp_path / "alone", {})
    assert not (tmp_path / "alone").exists()
    with pytest.raises(CheckpointError, match=message):
        store.save(1, lambda folder: save_policy(policy, folder / "policy", {}), {})
    assert np.isfinite(load_policy(store.latest()).act(np.zeros(3))).all()


def test_what_the_metadata_leave_out_is_one_step_without_noise(policy, tmp_path):
    """A part of `acting` changes that part only."""
    loaded = load_policy(save_policy(policy, tmp_path / "policy", {"acting": {"num_steps": 3}}))
    observation = torch.randn(5, 3)
    np.testing.assert_array_equal(loaded.act(observation.numpy()), policy.act(observation, 3, 0.0).numpy())


@pytest.mark.parametrize("metadata", [{}, {"acting": {"num_candidates": 4}}])
def test_candidates_need_a_critic(policy, tmp_path, metadata):
    """Asked for explicitly or by the metadata."""
    loaded = load_policy(save_policy(policy, tmp_path / "policy", metadata))
    asked = {} if metadata else {"num_candidates": 4}
    with pytest.raises(ValueError, match="`num_candidates` must be 1 without a critic, got 4"):
        loaded.act(np.zeros(3), **asked)
    assert loaded.act(np.zeros(3), num_candidates=1).shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, r"policy\.safetensors` does not fit policy\.json: only one of them has the critic"),
        ({"num_members": None}, r"policy\.json` is damaged: it lacks critic num_members"),
        (
            {"num_members": 0},
            r"policy\.json` is damaged: `num_members` must be an integer of at least 1, got 0",
        ),
        ({"num_members": 2}, r"policy\.safetensors` does not fit policy\.json"),
        ({"hidden_sizes": [8, 7]}, r"policy\.safetensors` does not fit policy\.json"),
        ({"hidden_sizes": 8}, r"policy\.json` is damaged"),
    ],
)
def test_a_critic_that_is_not_that_of_the_weights_is_refused(policy, critic, tmp_path, change, message):
    """Its description is checked as that of the policy is."""
    path = save_policy(policy, tmp_path / "policy", {}, critic=critic) / "policy.json"
    description = json.loads(path.read_text())
    described = None
    if change is not None:
        described = {k: v for k, v in (description["critic"] | change).items() if v is not None}
    path.write_text(json.dumps(description | {"critic": described}))
    with pytest.raises(ValueError, match=message):
        load_policy(path.parent)


def test_a_described_critic_must_be_among_the_weights(policy, critic, folder):
    """The other way round: the weights are those of a policy alone."""
    path = folder / "policy.json"
    settings = ("observation_size", "action_size", "hidden_sizes", "num_members")
    described = {name: getattr(critic, name) for name in settings}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"critic": described}))
    with pytest.raises(ValueError, match="only one of them has the critic"):
        load_policy(folder)
