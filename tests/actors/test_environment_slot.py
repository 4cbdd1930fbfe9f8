"""One environment of a search actor: episodes start, run, end and fail."""

import numpy as np
import pytest
from toy_simulator import PointMassEnv

from actors.environment_slot import EnvironmentSlot, is_student_next


def _slot(**settings):
    env = PointMassEnv(1, max_steps=3)
    return EnvironmentSlot(env, np.random.default_rng(0), **settings)


@pytest.mark.parametrize(
    ("settings", "acted_by"),
    [({}, "search"), ({"is_student": True}, "student"), ({"is_student": True, "is_mixed": True}, "mixed")],
)
def test_record_is_of_the_whole_episode(settings, acted_by):
    """Its return is the sum of the rewards, and it names who acted; the next episode counts from zero."""
    slot = _slot(**settings)
    slot.start(first_set=5, num_history_steps=0)
    total, action = 0.0, np.array([0.5], np.float32)
    assert (slot.is_running, slot.first_set, slot.history) == (True, 5, None)
    for _ in range(2):
        assert slot.step(action) == (None, True)
        total -= float(np.square(slot.env.unwrapped.position).sum())
    record, is_sound = slot.step(action)
    total -= float(np.square(slot.env.unwrapped.position).sum())
    assert is_sound
    assert record.episode_return == pytest.approx(total)
    assert (record.num_steps, record.acted_by, record.terminated) == (3, acted_by, False)
    assert record.duration_sec > 0.0
    slot.start(0, 0)
    assert (slot.episode_return, slot.num_steps) == (0.0, 0)


def test_resets_are_drawn_from_the_slot_s_own_generator():
    """One draw an episode."""
    slot, generator = _slot(), np.random.default_rng(0)
    for _ in range(2):
        slot.start(0, 0)
        expected, _ = PointMassEnv(1).reset(seed=int(generator.integers(2**31)))
        np.testing.assert_array_equal(slot.observation, expected)


def test_failed_physics_change_nothing():
    """The step is not counted, and the observation before it stays."""
    slot = _slot()
    slot.start(0, 2)
    before = slot.observation
    assert slot.step(np.array([np.nan], np.float32)) == (None, False)
    assert slot.observation is before
    assert (slot.num_steps, slot.episode_return, slot.history.actions) == (0, 0.0, [])


def test_next_actor_by_hand():
    """Below the wanted number: student; at or above it: search; in between: whoever is behind in steps."""
    settings = dict(fraction=0.5, num_env_steps=10)
    assert is_student_next(0, 4, num_student_steps=9, **settings)
    assert not is_student_next(2, 4, num_student_steps=0, **settings)
    assert is_student_next(1, 3, num_student_steps=4, **settings)
    assert not is_student_next(1, 3, num_student_steps=5, **settings)
