import dataclasses
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_dataset import make_dataset

from distill_rl.datasets.minari_format import read_minari, write_minari


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def test_what_is_written_is_read_back():
    """Actions go through their bounds and back; ends, log-densities and the environment are kept."""
    dataset = make_dataset(env="Pendulum-v1", action_low=[-2.0, 0.0], action_high=[2.0, 1.0])
    # What follows a step is where the next one starts.
    for steps in dataset.episodes():
        dataset.next_observations[steps][:-1] = dataset.observations[steps][1:]
    write_minari(dataset, "own/made-v0")
    found = read_minari("own/made-v0")
    for name in (
        "observations",
        "next_observations",
        "rewards",
        "terminals",
        "episode_ends",
        "is_transition",
    ):
        np.testing.assert_array_equal(getattr(found, name), getattr(dataset, name), err_msg=name)
    np.testing.assert_allclose(found.actions, dataset.actions, atol=1e-6)
    np.testing.assert_allclose(found.behaviour_log_probs, dataset.behaviour_log_probs, atol=1e-5)
    assert found.metadata["env"] == "Pendulum-v1" and found.metadata["action_low"] == [-2.0, 0.0]
    with pytest.raises(ValueError, match=r"`dataset_id` must be free, .* it is replaced with --overwrite"):
        write_minari(dataset, "own/made-v0")
    write_minari(make_dataset(with_log_probs=False, env="Unknown-v9"), "own/made-v0", overwrite=True)
    assert read_minari("own/made-v0").behaviour_log_probs is None


def test_what_minari_cannot_say_is_refused():
    """A step without a next observation, and a dataset that is not there."""
    dataset = dataclasses.replace(make_dataset(), has_final_observations=False)
    with pytest.raises(ValueError, match="`dataset` must know what followed the last step"):
        write_minari(dataset, "own/made-v0")
    with pytest.raises(
        ValueError, match=r"got 'own/none-v0': it is not on this machine; get it by --download$"
    ):
        read_minari("own/none-v0")
    for dataset_id in ("hopper", "o/hopper-v0", "ok-v2.h5df", "own/hop.per-v0"):
        with pytest.raises(
            ValueError, match=f"must be of the form own/hopper/medium-v0, .* got '{dataset_id}'"
        ):
            read_minari(dataset_id)
        with pytest.raises(ValueError, match=r"`dataset_id` must be of the form own/hopper/medium-v0"):
            write_minari(make_dataset(), dataset_id)


def test_damage_names_the_episode():
    """The first one, too; they are counted from one."""
    write_minari(make_dataset(), "own/made-v0")
    path = Path(os.environ["MINARI_DATASETS_PATH"]) / "own/made-v0/data/main_data.hdf5"
    for number in (3, 1):
        with h5py.File(path, "r+") as file:
            del file[f"episode_{number - 1}/rewards"]
        with pytest.raises(
            ValueError, match=f"`own/made-v0` is damaged: episode {number} of 3 cannot be read"
        ):
            read_minari("own/made-v0")
