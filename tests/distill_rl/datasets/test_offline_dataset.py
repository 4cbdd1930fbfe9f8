import dataclasses

import numpy as np
import pytest
from made_dataset import make_dataset

from distill_rl.datasets.offline_dataset import normalize_actions


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
