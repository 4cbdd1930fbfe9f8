import numpy as np
import pytest

from actors.step_log import StepLog
from actors.stepping import EnvStep

_METADATA = {"name": "toy", "source": "a test"}


def _add(log, episode, index, terminated=False, log_prob=np.nan):
    """Adds a step whose numbers all tell its index."""
    step = EnvStep(np.full(2, index + 0.5, np.float32), float(index), terminated, False)
    return log.add(episode, np.full(2, index), np.full(1, index / 100), step, log_prob)


def _interleaved():
    """Two episodes whose steps alternate: 0, 2, 4 (terminal) and 1, 3, 5, 6."""
    log = StepLog(2, 1)
    first = _add(log, None, 0)
    second = _add(log, None, 1)
    for index in range(2, 7):
        _add(log, first if index in (2, 4) else second, index, terminated=index == 4)
    return log


def test_interleaved_steps_become_whole_episodes():
    """Each episode's steps follow each other, in the order of the episodes' starts."""
    log = _interleaved()
    dataset = log.to_dataset(_METADATA)
    assert len(log) == 7 and log.num_episodes == 2 and log.episode_lengths().tolist() == [3, 4]
    assert dataset.rewards.tolist() == [0, 2, 4, 1, 3, 5, 6]
    assert dataset.observations[:, 0].tolist() == [0, 2, 4, 1, 3, 5, 6]
    assert dataset.next_observations[:, 1].tolist() == [0.5, 2.5, 4.5, 1.5, 3.5, 5.5, 6.5]
    assert dataset.actions[:, 0].tolist() == pytest.approx([0, 0.02, 0.04, 0.01, 0.03, 0.05, 0.06])
    assert dataset.episode_ends.tolist() == [3, 7]
    assert np.flatnonzero(dataset.terminals).tolist() == [2]
    assert dataset.is_transition.all() and dataset.has_final_observations


def test_the_first_steps_are_those_taken_first():
    """Not those of the first episodes; what is cut off there is no terminal."""
    dataset = _interleaved().to_dataset(_METADATA, num_steps=4)
    assert dataset.rewards.tolist() == [0, 2, 1, 3]
    assert dataset.episode_ends.tolist() == [2, 4]
    assert not dataset.terminals.any()


def test_the_first_episodes_are_whole():
    """The others are left out, wherever their steps stand."""
    assert _interleaved().to_dataset(_METADATA, num_episodes=1).rewards.tolist() == [0, 2, 4]


def test_log_probs_are_kept_if_all_are_known():
    """One unknown density makes them useless."""
    log = StepLog(2, 1)
    episode = None
    for index in range(3):
        episode = _add(log, episode, index, log_prob=-float(index))
    assert log.to_dataset(_METADATA).behaviour_log_probs.tolist() == [0, -1, -2]
    _add(log, episode, 3)
    assert log.to_dataset(_METADATA).behaviour_log_probs is None


def test_a_log_grows():
    """Beyond what it began with, steps stay what and where they were."""
    log = StepLog(2, 1)
    for index in range(3_000):
        log.add(None if index % 10 == 0 else index // 10, np.full(2, index), np.zeros(1), _step(index))
    dataset = log.to_dataset(_METADATA)
    assert dataset.rewards.tolist() == list(range(3_000))
    assert dataset.num_episodes == 300


def _step(index):
    return EnvStep(np.zeros(2, np.float32), float(index), False, False)


def test_nothing_makes_no_dataset():
    """It is said so."""
    with pytest.raises(ValueError, match="must leave at least one step, got none"):
        StepLog(2, 1).to_dataset(_METADATA)
