import numpy as np

from actors.history import EpisodeHistory, stack_histories
from actors.stepping import EnvStep


def _episode(num_steps, num_taken, terminated=False):
    """Observations are the number of steps taken, actions and rewards ten and a hundred times that."""
    history = EpisodeHistory(num_steps, np.zeros(1, np.float32))
    for step in range(1, num_taken + 1):
        is_over = terminated and step == num_taken
        after = EnvStep(np.full(1, step, np.float32), 100.0 * step, is_over, False)
        history.add(np.full(2, 10.0 * step, np.float32), after)
    return history


def test_the_last_steps_are_kept():
    """Long episodes have their newest steps, short ones all they have, first."""
    found = stack_histories([_episode(3, 5), _episode(3, 2), _episode(3, 0)], 2)
    np.testing.assert_array_equal(found.observation[..., 0], [[2, 3, 4, 5], [0, 1, 2, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(found.action[..., 1], [[30, 40, 50], [10, 20, 0], [0, 0, 0]])
    np.testing.assert_array_equal(found.reward, [[300, 400, 500], [100, 200, 0], [0, 0, 0]])
    np.testing.assert_array_equal(found.is_valid, [[1, 1, 1], [1, 1, 0], [0, 0, 0]])
    assert all(array.dtype == np.float32 for array in vars(found).values())


def test_a_termination_is_told_at_its_step():
    """The discount is 0 there, and only there."""
    found = stack_histories([_episode(3, 4, terminated=True), _episode(3, 2, terminated=True)], 2)
    np.testing.assert_array_equal(found.discount, [[1, 1, 0], [1, 0, 1]])
