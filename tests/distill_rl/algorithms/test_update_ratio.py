import numpy as np
import pytest

from distill_rl.algorithms.update_ratio import UpdateRatio


@pytest.mark.parametrize("updates_per_step", [0.1, 0.5, 1.0, 3.3])
def test_update_ratio_holds_whatever_the_fragments(updates_per_step):
    """The updates made are floor(ratio * counted steps), however steps and updates interleave."""
    generator = np.random.default_rng(0)
    ratio = UpdateRatio(updates_per_step, learning_starts=100, max_pending_updates=50)
    made = steps = 0
    for _ in range(200):
        num_steps = int(generator.integers(1, 40))
        ratio.insert(num_steps)
        steps += num_steps
        made += ratio.take(int(generator.integers(0, 200)))
    while taken := ratio.take(7):
        made += taken
    assert made == int(np.floor(updates_per_step * (steps - 100) + 1e-9))
    assert ratio.due == 0


def test_update_ratio_owes_nothing_before_learning_starts():
    """No update is owed for the first `learning_starts` steps."""
    ratio = UpdateRatio(1.0, learning_starts=100, max_pending_updates=10)
    ratio.insert(100)
    assert ratio.due == 0
    ratio.insert(3)
    assert ratio.due == 3


def test_update_ratio_stops_inserts_when_too_much_is_owed():
    """Actors have to wait while more than `max_pending_updates` updates are owed."""
    ratio = UpdateRatio(1.0, learning_starts=0, max_pending_updates=10)
    ratio.insert(11)
    assert not ratio.can_insert
    ratio.take(1)
    assert ratio.can_insert


def test_update_ratio_state_round_trip():
    """A restored limiter owes what the saved one owed."""
    ratio = UpdateRatio(0.5, learning_starts=4, max_pending_updates=10)
    ratio.insert(25)
    ratio.take(3)
    other = UpdateRatio(0.5, learning_starts=4, max_pending_updates=10)
    other.set_state(ratio.get_state())
    assert other.due == ratio.due == 7
