import dataclasses

import numpy as np
import pytest

from distill_rl.datasets.offline_dataset import OfflineDataset, normalize_actions
from distill_rl.datasets.store import concatenate, dataset_names, dataset_path, load_dataset, save_dataset


def make_dataset(lengths=(4, 1, 7), seed=0, with_log_probs=True, **metadata):
    """Random episodes, the second of which terminated."""
    generator = np.random.default_rng(seed)
    total, ends = sum(lengths), np.cumsum(lengths)
    terminals = np.zeros(total, bool)
    terminals[ends[1] - 1] = True
    return OfflineDataset(
        observations=generator.normal(size=(total, 3)).astype(np.float32),
        actions=generator.uniform(-1, 1, (total, 2)).astype(np.float32),
        rewards=generator.normal(size=total).astype(np.float32),
        next_observations=generator.normal(size=(total, 3)).astype(np.float32),
        terminals=terminals,
        is_transition=np.ones(total, bool),
        episode_ends=ends.astype(np.int64),
        metadata={"name": "made", "source": "here", **metadata},
        behaviour_log_probs=generator.normal(size=total).astype(np.float32) if with_log_probs else None,
    ).validate()


@pytest.mark.parametrize("discount", [1.0, 0.9, 0.0])
def test_returns_to_go_are_those_of_the_loop(discount):
    """Each step's discounted rewards up to the end of its own episode."""
    dataset = make_dataset()
    found = dataset.returns_to_go(discount)
    for steps in dataset.episodes():
        for row in range(steps.start, steps.stop):
            powers = discount ** np.arange(steps.stop - row)
            assert found[row] == pytest.approx((powers * dataset.rewards[row : steps.stop]).sum(), abs=1e-5)
    totals = [dataset.rewards[steps].sum() for steps in dataset.episodes()]
    np.testing.assert_allclose(dataset.episode_returns(), totals, rtol=1e-5)


def test_windows_stay_in_their_episode():
    """Beyond its end they repeat the last step, and say so."""
    steps, is_inside = make_dataset().windows(np.array([0, 2, 4, 9]), 4)
    np.testing.assert_array_equal(steps, [[0, 1, 2, 3], [2, 3, 3, 3], [4, 4, 4, 4], [9, 10, 11, 11]])
    np.testing.assert_array_equal(is_inside.sum(axis=1), [4, 2, 1, 3])
    with pytest.raises(ValueError, match="`rows` must be within 0 to 11, got 3 to 12"):
        make_dataset().windows(np.array([3, 12]), 2)


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
    """A missing dataset, a missing array, a damaged description, a newer format."""
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": np.zeros((12, 2))}, "`actions` must have dtype float32, got float64"),
        ({"episode_ends": np.array([4, 4, 12])}, "`episode_ends` must rise from at least 1 to 12"),
        ({"episode_ends": np.array([4, 11])}, "`episode_ends` must rise from at least 1 to 12"),
        (
            {"terminals": np.arange(12) == 1},
            "`terminals` must be at ends of episodes only, got one",
        ),
        ({"is_transition": np.ones(3, bool)}, r"`is_transition` must have shape \[12\]"),
    ],
)
def test_a_malformed_dataset_is_refused(changes, message):
    """The array, what was expected and what came are named."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_dataset(), **changes).validate()


def test_actions_are_mapped_with_their_densities():
    """A uniform density over the bounds stays one over [-1, 1]."""
    low, high = np.array([-2.0, 0.0]), np.array([2.0, 0.5])
    actions = np.array([[-2.0, 0.0], [0.0, 0.25], [2.0, 0.5]])
    density = np.full(3, -np.log(4.0 * 0.5))
    mapped, log_probs = normalize_actions(actions, low, high, density)
    np.testing.assert_allclose(mapped, [[-1, -1], [0, 0], [1, 1]])
    np.testing.assert_allclose(log_probs, -np.log(4.0), rtol=1e-6)
    with pytest.raises(ValueError, match="`low` must be below `high`"):
        normalize_actions(actions, low, np.array([np.inf, 1.0]))
