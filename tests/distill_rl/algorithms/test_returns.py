import math

import pytest

from distill_rl.algorithms.returns import ReturnTracker


def test_returns_average_the_last_episodes_of_each_kind():
    """Each kind has its own window, and the ratio is student over search."""
    tracker = ReturnTracker(window=2)
    assert math.isnan(tracker.mean("search")) and math.isnan(tracker.student_search_ratio)
    for value in (1.0, 3.0, 5.0):
        tracker.add("search", value)
    tracker.add("student", 2.0)
    assert tracker.mean("search") == pytest.approx(4.0)
    assert tracker.student_search_ratio == pytest.approx(0.5)
    assert tracker.num_episodes == {"search": 3, "student": 1, "mixed": 0}


def test_ratio_is_unknown_for_returns_that_are_not_positive():
    """A ratio of negative returns would rank a worse student higher, so there is none."""
    tracker = ReturnTracker(window=2)
    tracker.add("search", -100.0)
    tracker.add("student", -200.0)
    assert math.isnan(tracker.student_search_ratio)


def test_returns_state_round_trip():
    """Restored averages and counters equal the saved ones."""
    tracker, other = ReturnTracker(3), ReturnTracker(3)
    tracker.add("search", 2.0)
    other.add("student", 9.0)
    other.set_state(tracker.get_state())
    assert other.mean("search") == 2.0 and math.isnan(other.mean("student"))
    assert other.num_episodes == {"search": 1, "student": 0, "mixed": 0}
