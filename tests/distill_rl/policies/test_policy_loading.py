import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from distill_rl.networks.world_model import Encoder, WorldModelConfig
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.loading import find_policy_folder, load_policy, save_policy


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
        (json.dumps({k: v for k, v in good.items() if k != "metadata"}), "lacks metadata"),
        (json.dumps(good | {"format_version": 9}), "must have a format version up to 2, got 9"),
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
    (folder / "policy.json").write_text(json.dumps(description | {"encoder": None}))
    with pytest.raises(ValueError, match="one of them has an encoder"):
        load_policy(folder)


def test_policies_of_the_first_format_are_read(folder):
    """They had no word about encoders."""
    description = json.loads((folder / "policy.json").read_text())
    del description["encoder"]
    (folder / "policy.json").write_text(json.dumps(description | {"format_version": 1}))
    assert load_policy(folder).encoder is None
