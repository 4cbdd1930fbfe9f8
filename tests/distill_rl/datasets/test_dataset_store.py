import dataclasses

import numpy as np
import pytest
from made_dataset import make_dataset

from distill_rl.datasets.behaviour import BehaviourPolicy
from distill_rl.datasets.store import (
    command_for,
    concatenate,
    dataset_names,
    dataset_path,
    load_dataset,
    save_dataset,
)


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
    whole = (path / "observations.npy").read_bytes()
    for damaged in (b"123", b"", whole[:200], whole.replace(b"{'", b"{(", 1), whole.replace(b"'", b"9", 1)):
        (path / "rewards.npy").write_bytes(damaged)
        for is_mapped in (True, False):
            with pytest.raises(ValueError, match=r"rewards\.npy` is missing or damaged"):
                load_dataset("made", is_mapped)
    np.save(path / "rewards.npy", np.zeros(12, np.float32))
    for damaged in (b"PK\x03\x04", b""):
        (path / "behaviour_policy.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"made` is damaged: `behaviour_policy\.npz` cannot be read"):
            load_dataset("made")
    (path / "dataset.json").write_text('{"format_version": 9, "metadata": {}}')
    with pytest.raises(ValueError, match="must have format version 1, got 9"):
        load_dataset("made")
    (path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json` is damaged"):
        load_dataset("made")


def test_missing_data_are_told_with_the_command_that_brings_them(tmp_path, monkeypatch):
    """Own names are taken apart into task and kind; any other is that of a file to import."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path))
    with pytest.raises(ValueError, match=r"to get it: distill-rl datasets import FILE --name hopper-v2$"):
        load_dataset("hopper-v2")
    commands = {
        "own-hopper-medium-replay": "hopper --kind medium-replay",
        "own-halfcheetah-expert": "half_cheetah --kind expert",
        "own-inverted-pendulum-medium": "inverted_pendulum --kind medium",
        "own-maze2d-umaze": "maze2d --kind umaze",
    }
    for name, command in commands.items():
        assert command_for(name) == f"distill-rl collect {command}"
    assert command_for("own-thing") == "distill-rl datasets import FILE --name own-thing"


def test_a_policy_of_other_sizes_is_refused(tmp_path):
    """It would fail when it acts, long after."""
    sizes = {"first": (8, 3), "second": (8, 8), "mean": (2, 8), "log_std": (2, 8)}

    def save(**changes):
        layers = [(np.zeros(shape), np.zeros(shape[0])) for shape in (sizes | changes).values()]
        dataset = dataclasses.replace(make_dataset(), behaviour_policy=BehaviourPolicy(*layers))
        return save_dataset(dataset, tmp_path / "made", overwrite=True)

    assert load_dataset(save()).behaviour_policy is not None
    wrong = {
        r"first weight` must have shape \[any, 3\], got \[8, 4\]": {"first": (8, 4)},
        r"second weight` must have shape \[any, 8\], got \[8, 7\]": {"second": (8, 7)},
        r"mean weight` must have shape \[2, 8\], got \[3, 8\]": {"mean": (3, 8)},
        r"log_std weight` must have shape \[2, 8\], got \[1, 8\]": {"log_std": (1, 8)},
    }
    for message, changes in wrong.items():
        with pytest.raises(ValueError, match=message):
            save(**changes)


def test_a_dataset_that_cannot_be_written_leaves_the_old_one(tmp_path):
    """Nothing is half there."""
    path = save_dataset(make_dataset(), tmp_path / "made")
    broken = dataclasses.replace(make_dataset(seed=1), rewards=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="`rewards` must have shape"):
        save_dataset(broken, path, overwrite=True)
    with pytest.raises(ValueError, match=r"must be free, got .*it is replaced with --overwrite"):
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
