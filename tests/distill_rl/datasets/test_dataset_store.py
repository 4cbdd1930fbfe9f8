import dataclasses

import numpy as np
import pytest
from made_dataset import make_dataset

from distill_rl.datasets.store import concatenate, dataset_names, dataset_path, load_dataset, save_dataset


def test_a_dataset_survives_the_disk(tmp_path, monkeypatch):
    """Array by array, mapped or read; found by name in the folder of all datasets."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path))
    dataset = make_dataset(env="Hopper-v5")
    save_dataset(dataset, tmp_path / "made")
    for found in (load_dataset("made"), load_dataset(tmp_path / "made", is_mapped=False)):
        for field in dataclasses.fields(dataset):
            if field.name == "behaviour_policy":
                continue
            np.testing.assert_array_equal(getattr(found, field.name), getattr(dataset, field.name))
    assert isinstance(load_dataset("made").observations, np.memmap)
    save_dataset(make_dataset(with_log_probs=False), tmp_path / "plain")
    assert load_dataset("plain").behaviour_log_probs is None
    assert dataset_names() == ["made", "plain"]


def test_damage_is_named(tmp_path, monkeypatch):
    """A missing dataset, a missing array, a damaged policy or description, a newer format."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path))
    path = save_dataset(make_dataset(), tmp_path / "made")
    with pytest.raises(ValueError, match="did you mean 'made'"):
        load_dataset("mad")
    np.save(path / "rewards.npy", np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"made` is damaged: `rewards` must have shape \[12\], got \[3\]"):
        load_dataset("made")
    (path / "rewards.npy").write_bytes(b"123")
    with pytest.raises(ValueError, match=r"rewards\.npy` is missing or damaged"):
        load_dataset("made")
    np.save(path / "rewards.npy", np.zeros(12, np.float32))
    (path / "behaviour_policy.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"made` is damaged: .* zip"):
        load_dataset("made")
    (path / "dataset.json").write_text('{"format_version": 9, "metadata": {}}')
    with pytest.raises(ValueError, match="must have format version 1, got 9"):
        load_dataset("made")
    (path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json` is damaged"):
        load_dataset("made")


def test_a_dataset_that_cannot_be_written_leaves_the_old_one(tmp_path):
    """Nothing is half there."""
    path = save_dataset(make_dataset(), tmp_path / "made")
    broken = dataclasses.replace(make_dataset(seed=1), rewards=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="`rewards` must have shape"):
        save_dataset(broken, path, overwrite=True)
    with pytest.raises(ValueError, match=r"must be free, got .*it is replaced with overwrite"):
        save_dataset(make_dataset(seed=1), path)
    np.testing.assert_array_equal(load_dataset(path).rewards, make_dataset().rewards)
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    save_dataset(make_dataset(seed=1), path, overwrite=True)
    np.testing.assert_array_equal(load_dataset(path).rewards, make_dataset(seed=1).rewards)


def test_what_is_no_dataset_is_never_replaced(tmp_path, monkeypatch):
    """Nor is there a name that leads out of the folder of all datasets; unfinished ones are not listed."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path))
    (tmp_path / "precious").mkdir()
    with pytest.raises(ValueError, match="which is no dataset"):
        save_dataset(make_dataset(), tmp_path / "precious", overwrite=True)
    for name in ("", ".", "..", "a/b", "/tmp", ".hidden"):
        with pytest.raises(ValueError, match="`name` must be that of a plain folder"):
            dataset_path(name)
    save_dataset(make_dataset(), tmp_path / ".made.tmp-x")
    assert dataset_names() == []


def test_joined_datasets_keep_their_episodes():
    """The second's follow the first's; log-densities stay only if both have them."""
    first, second = make_dataset(seed=1), make_dataset((2, 3), seed=2)
    joined = concatenate([first, second], "both")
    np.testing.assert_array_equal(joined.episode_ends, [4, 5, 12, 14, 17])
    np.testing.assert_allclose(joined.episode_returns()[3:], second.episode_returns())
    assert joined.metadata["name"] == "both" and joined.behaviour_log_probs is not None
    assert concatenate([first, make_dataset(with_log_probs=False)], "x").behaviour_log_probs is None
    with pytest.raises(ValueError, match="`datasets` must be alike in 'env', got None and Hopper-v5"):
        concatenate([first, make_dataset(env="Hopper-v5")], "x")
