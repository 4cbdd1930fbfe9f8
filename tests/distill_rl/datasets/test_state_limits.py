"""Scaling of states by their range."""

import numpy as np
import pytest

from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.state_limits import StateLimits


def make_dataset(observations):
    steps = len(observations)
    return OfflineDataset(
        observations=np.asarray(observations, np.float32),
        actions=np.zeros((steps, 1), np.float32),
        rewards=np.zeros(steps, np.float32),
        next_observations=np.asarray(observations, np.float32),
        terminals=np.zeros(steps, bool),
        is_transition=np.ones(steps, bool),
        episode_ends=np.array([steps]),
        metadata={"name": "few", "source": "here"},
    )


def test_states_are_scaled_by_hand_worked_numbers():
    limits = StateLimits(low=np.array([0.0, -1.0]), high=np.array([4.0, 1.0]))
    np.testing.assert_allclose(limits.scale(np.array([[0.0, 1.0], [3.0, 0.0]])), [[-1.0, 1.0], [0.5, 0.0]])


def test_restored_states_are_the_same():
    limits = StateLimits(low=np.array([0.0, -1.0]), high=np.array([4.0, 1.0]))
    states = np.random.default_rng(0).normal(size=(5, 3, 2))
    np.testing.assert_allclose(limits.restore(limits.scale(states)), states, atol=1e-6)


def test_limits_are_those_of_the_data():
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    limits = StateLimits.of(make_dataset(observations))
    scaled = limits.scale(observations)
    np.testing.assert_allclose(scaled.min(axis=0), -1.0, atol=1e-6)
    np.testing.assert_allclose(scaled.max(axis=0), 1.0, atol=1e-6)


def test_what_never_changes_cannot_be_scaled():
    with pytest.raises(ValueError, match="`high` must exceed `low`"):
        StateLimits.of(make_dataset([[0.0, 1.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="high"):
        StateLimits(low=np.zeros(2), high=np.ones(3))
