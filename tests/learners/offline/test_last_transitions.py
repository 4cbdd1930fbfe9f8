"""Transitions out of reference sets."""

import dataclasses

import numpy as np
import pytest

from distill_rl.types import EpisodeSteps, ReferenceSet
from learners.offline.transitions import last_transitions


def make_set(num_steps):
    """Returns two states with the steps before and in them; every number tells where it stands."""
    steps = EpisodeSteps(
        observation=np.arange(2 * (num_steps + 1) * 3, dtype=np.float32).reshape(2, num_steps + 1, 3),
        action=np.full((2, num_steps, 1), 0.5, np.float32),
        reward=np.arange(2 * num_steps, dtype=np.float32).reshape(2, num_steps),
        discount=np.array([[1.0] * num_steps, [0.0] * num_steps], np.float32),
        is_valid=np.ones((2, num_steps), np.float32),
    )
    zeros = np.zeros(2, np.float32)
    return ReferenceSet(
        observation=steps.observation[:, -2],
        actions=np.zeros((2, 1, 1), np.float32),
        log_probs=np.zeros((2, 1), np.float32),
        log_proposals=np.zeros((2, 1), np.float32),
        value=zeros,
        policy_value=zeros,
        policy_version=0,
        episode_steps=steps,
    )


def test_a_transition_is_the_step_taken_in_the_state():
    batch = last_transitions(make_set(1))
    np.testing.assert_array_equal(batch.observation, [[0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(batch.next_observation, [[3, 4, 5], [9, 10, 11]])
    np.testing.assert_array_equal(batch.reward, [0, 1])
    np.testing.assert_array_equal(batch.is_terminal, [0, 1])
    np.testing.assert_array_equal(batch.action, [[0.5], [0.5]])


@pytest.mark.parametrize("num_steps", [None, 2])
def test_sets_without_one_step_are_refused(num_steps):
    reference_set = make_set(num_steps or 1)
    if num_steps is None:
        reference_set = dataclasses.replace(reference_set, episode_steps=None)
    with pytest.raises(ValueError, match="`episode_steps` must hold one step"):
        last_transitions(reference_set)
