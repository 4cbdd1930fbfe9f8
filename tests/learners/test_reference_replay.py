import numpy as np
import pytest

from distill_rl.types import NStepTransitions, ReferenceSet
from learners.replay import ReferenceReplay


def _reference_set(first: int, num_states: int, version: int = 0, **changes) -> ReferenceSet:
    """States numbered from `first`; every field of state i is derived from i."""
    index = np.arange(first, first + num_states, dtype=np.float32)
    fields = {
        "observation": np.stack([index, -index], -1),
        "actions": np.clip(np.tile(index[:, None, None] / 100, (1, 4, 3)), -1, 1),
        "log_probs": np.full((num_states, 4), np.log(0.25), np.float32),
        "log_proposals": np.zeros((num_states, 4), np.float32),
        "value": index,
        "policy_value": 2 * index,
        "policy_version": version,
    }
    return ReferenceSet(**(fields | changes))


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (1, 6, 2, 7), (25, 4), (7, 7)])
def test_ring_holds_what_a_slow_list_would(sizes):
    """After any additions the replay holds exactly the newest `capacity` states, each kept whole."""
    replay, slow = ReferenceReplay(7), []
    first = 0
    for size in sizes:
        replay.add(_reference_set(first, size))
        slow = (slow + list(range(first, first + size)))[-7:]
        first += size
        batch = replay.sample(400, np.random.default_rng(0))
        assert len(replay) == len(slow)
        assert sorted(set(batch.value.tolist())) == slow
        np.testing.assert_array_equal(batch.policy_value, 2 * batch.value)
        np.testing.assert_array_equal(batch.observation, np.stack([batch.value, -batch.value], -1))
        np.testing.assert_allclose(batch.actions[:, 2, 1], np.clip(batch.value / 100, -1, 1))


def test_sample_is_a_valid_float32_set_of_its_oldest_version():
    """The batch passes the contract, and carries the smallest version in it."""
    replay = ReferenceReplay(10)
    replay.add(_reference_set(0, 3, version=5))
    replay.add(_reference_set(3, 3, version=9))
    batch = replay.sample(64, np.random.default_rng(0)).validate()
    assert batch.policy_version == 5
    assert batch.actions.shape == (64, 4, 3)
    assert {getattr(batch, n).dtype for n in ("observation", "actions", "log_probs", "value")} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize("priority", [0.0, 0.5, 1.0])
def test_states_are_drawn_by_their_improvement(priority):
    """The share of each state in many draws is that of the formula, also in a ring that has wrapped."""
    improvement = np.array([0.0, 0.0, 0.0, 1.0, -3.0, 2.0, 0.5, 40.0], np.float32)
    replay = ReferenceReplay(8)
    replay.add(_reference_set(-3, 3))
    index = np.arange(8, dtype=np.float32)
    replay.add(_reference_set(0, 8, value=index + improvement, policy_value=index))
    batch = replay.sample(200_000, np.random.default_rng(0), priority)
    gain = np.maximum(improvement, 0.0)
    weights = 1.0 - priority + priority * np.minimum(gain / gain.mean(), 5.0)
    found = np.bincount(batch.policy_value.astype(int), minlength=8) / 200_000
    np.testing.assert_allclose(found, weights / weights.sum(), atol=0.005)


@pytest.mark.parametrize("priority", [0.5, 1.0])
def test_draws_are_uniform_where_nothing_improved(priority):
    """No improvement anywhere leaves no state out."""
    replay = ReferenceReplay(8)
    replay.add(_reference_set(0, 8, value=np.zeros(8, np.float32), policy_value=np.ones(8, np.float32)))
    batch = replay.sample(8000, np.random.default_rng(0), priority)
    assert np.bincount(batch.observation[:, 0].astype(int), minlength=8).min() > 800


def test_equal_generators_draw_equal_batches():
    """Sampling is a function of the contents and the generator."""
    replay = ReferenceReplay(10)
    replay.add(_reference_set(0, 10))
    batches = [replay.sample(8, np.random.default_rng(3)).value for _ in range(2)]
    np.testing.assert_array_equal(*batches)


def test_state_dict_round_trip_goes_on_the_same():
    """A restored replay samples and overwrites as the saved one does, and the saved state does not move."""
    replay, restored = ReferenceReplay(5), ReferenceReplay(5)
    replay.add(_reference_set(0, 7, version=1))
    state = replay.state_dict()
    replay.add(_reference_set(7, 2, version=2))
    restored.load_state_dict(state)
    restored.add(_reference_set(7, 2, version=2))
    for name in ("value", "actions"):
        one, other = (r.sample(50, np.random.default_rng(0)) for r in (replay, restored))
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert restored.num_added == 9


def test_mistakes_are_named():
    """Wrong capacity, empty sampling, changed shapes or convention, and broken sets are each reported."""
    with pytest.raises(ValueError, match="`capacity` must be at least 1, got 0"):
        ReferenceReplay(0)
    replay = ReferenceReplay(5)
    with pytest.raises(ValueError, match="at least one state"):
        replay.sample(1, np.random.default_rng(0))
    replay.add(_reference_set(0, 2))
    with pytest.raises(ValueError, match=r"`observation` must have rows of shape \[2\].*got \[3\]"):
        replay.add(_reference_set(0, 2, observation=np.zeros((2, 3), np.float32)))
    with pytest.raises(ValueError, match="`convention` must stay 'mass'"):
        replay.add(_reference_set(0, 2, convention="density"))
    with pytest.raises(ValueError, match="`value` must be finite"):
        replay.add(_reference_set(0, 2, value=np.array([0, np.nan], np.float32)))
    with pytest.raises(ValueError, match="`capacity` of the state must be 6, got 5"):
        ReferenceReplay(6).load_state_dict(replay.state_dict())
    assert len(replay) == 2


def _transitions(first: int, num_states: int) -> NStepTransitions:
    index = np.arange(first, first + num_states, dtype=np.float32)
    observation = np.tile(np.stack([index, -index], -1)[:, None], (1, 3, 1))
    return NStepTransitions(
        observation, np.tile(3 * index[:, None], (1, 3)), np.ones((num_states, 3)), observation
    )


def test_transitions_stay_with_their_state():
    """Transitions are kept, sampled, saved and restored in the rows of their states."""
    replay = ReferenceReplay(5)
    for first in (0, 4):
        replay.add(_reference_set(first, 4, transitions=_transitions(first, 4)))
    restored = ReferenceReplay(5)
    restored.load_state_dict(replay.state_dict())
    for ring in (replay, restored):
        batch = ring.sample(200, np.random.default_rng(0)).validate()
        assert set(batch.value.tolist()) == {3.0, 4.0, 5.0, 6.0, 7.0}
        np.testing.assert_array_equal(batch.transitions.reward, np.tile(3 * batch.value[:, None], (1, 3)))
        np.testing.assert_array_equal(batch.transitions.observation[:, 1], batch.observation)


def test_transitions_in_some_sets_only_are_refused():
    """A ring holds transitions for all of its states or for none."""
    replay = ReferenceReplay(5)
    replay.add(_reference_set(0, 2))
    with pytest.raises(ValueError, match="`transitions` must be given in all sets or in none"):
        replay.add(_reference_set(2, 2, transitions=_transitions(2, 2)))
