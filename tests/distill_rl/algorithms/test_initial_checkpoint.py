"""Which file a checkpoint is read from, and what cannot be."""

import pickle

import pytest

from distill_rl.algorithms.initial_checkpoint import read_trainer_state

_FILE = "learner_group/learner/state.pkl"


def write(folder, state):
    path = folder / _FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(state))
    return path


def test_the_state_is_found_wherever_the_path_leads(tmp_path):
    """From what an algorithm saved, from a checkpoint of a run, and from the run, whose newest one counts."""
    for step in (1, 2):
        write(tmp_path / f"run/checkpoints/checkpoint_{step}/algorithm", {"trainer": {"num_updates": step}})
    (tmp_path / "run/checkpoints/latest").write_text("checkpoint_2\n")
    newest = tmp_path / "run/checkpoints/checkpoint_2"
    for path in (newest / "algorithm", newest, tmp_path / "run/checkpoints", tmp_path / "run"):
        assert read_trainer_state(path) == {"num_updates": 2}
    assert read_trainer_state(str(newest.with_name("checkpoint_1"))) == {"num_updates": 1}


def test_what_cannot_be_read_is_named(tmp_path):
    """Nothing there, a learner of somebody else, and a file that is cut."""
    with pytest.raises(ValueError, match="must hold the checkpoint of an algorithm, got none in it"):
        read_trainer_state(tmp_path)
    path = write(tmp_path / "other", {"rl_module": 1, "optimizer": 2})
    with pytest.raises(ValueError, match=r"of a learner of ours, got \['optimizer', 'rl_module'\]"):
        read_trainer_state(tmp_path / "other")
    for content in (path.read_bytes()[:-4], b"", b"no pickle"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state\.pkl` is damaged"):
            read_trainer_state(tmp_path / "other")
