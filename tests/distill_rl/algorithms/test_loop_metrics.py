import math
import time

import pytest
from learner_reports import make_report

from actors.fragment import FragmentHeader
from distill_rl.algorithms.backpressure import BoundedQueue
from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.loop_metrics import LoopMetrics
from distill_rl.algorithms.update_ratio import UpdateRatio
from distill_rl.collected import EpisodeRecord


class _Clock:
    """Time that stands still unless told."""

    def __init__(self):
        self.now_sec = 100.0

    def __call__(self):
        return self.now_sec


@pytest.fixture
def clock(monkeypatch):
    clock = _Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def _result(metrics, num_updates=0):
    ratio = UpdateRatio(1.0, learning_starts=0, max_pending_updates=1)
    ratio.num_updates = num_updates
    return metrics.result(gate=FragmentGate(), ratio=ratio, queue=BoundedQueue(4), num_in_flight=3)


def _header(**counters):
    settings = {
        "actor_id": 0,
        "sequence": 0,
        "policy_version": 0,
        "num_sets": 12,
        "num_env_steps": 10,
        "num_simulator_steps": 500,
        "episodes": (EpisodeRecord(7.0, 10, 0.1, "student", False),),
        "num_dropped_episodes": 1,
        "num_failed_pulls": 2,
        "statistics": {"kl": 0.5},
    }
    return FragmentHeader(**settings | counters)


def test_counters_add_fragments_and_reports_up(clock):
    """Two fragments and two calls of two learners count once each; states of learners show as they are."""
    metrics = LoopMetrics(num_return_episodes=5)
    metrics.add_fragment(_header())
    metrics.add_fragment(_header(statistics={}))
    reports = [make_report(num_replay_sets=n, num_invalid_sets=3, num_lost_fragments=1) for n in (40, 50)]
    metrics.add_reports(reports)
    metrics.add_reports(reports)
    result = _result(metrics)
    expected = {
        "env_steps": 20,
        "simulator_steps": 1000,
        "reference_sets": 24,
        "dropped_episodes": 2,
        "failed_pulls": 4,
        "student_episodes": 2,
        "student_return": 7.0,
        "search_kl": 0.5,
        "invalid_sets": 12,
        "lost": 4,
        "replay_sets": 90,
        "fragments_in_flight": 3,
    }
    assert {name: result[name] for name in expected} == expected
    assert math.isnan(result["search_return"]) and math.isnan(result["policy_lag_mean"])


def test_rates_are_those_since_the_last_result(clock):
    """What came before does not count again; learners that go back in time make no negative rate."""
    metrics = LoopMetrics(num_return_episodes=5)
    metrics.add_fragment(_header())
    clock.now_sec += 2.0
    assert (_result(metrics, 8)["env_steps_per_sec"], _result(metrics, 8)["env_steps_per_sec"]) == (5.0, 0.0)
    metrics.add_fragment(_header())
    clock.now_sec += 4.0
    result = _result(metrics, 6)
    assert (result["env_steps_per_sec"], result["updates_per_sec"]) == (2.5, 0.0)


def test_a_restored_run_goes_on_counting_and_rates_start_there(clock):
    """Nothing that was counted before the checkpoint falls back to zero, or shows up in a rate."""
    metrics, restored = LoopMetrics(num_return_episodes=5), LoopMetrics(num_return_episodes=5)
    metrics.add_fragment(_header())
    metrics.add_reports([make_report(num_invalid_sets=3, num_lost_fragments=1)])
    metrics.num_restarts = metrics.num_learner_restarts = metrics.num_store_restarts = (
        metrics.num_unpublished
    ) = 2
    before = _result(metrics, 40)
    clock.now_sec += 1000.0  # until the process was up again
    restored.set_state(metrics.get_state(), num_updates=40)
    clock.now_sec += 10.0
    after = _result(restored, 60)
    assert after["updates_per_sec"] == 2.0 and after["env_steps_per_sec"] == 0.0
    counters = [
        name for name, value in before.items() if isinstance(value, int) and value and name != "updates"
    ]
    assert {"lost", "invalid_sets", "student_episodes", "unpublished", "learner_restarts"} <= set(counters)
    assert {name: after[name] for name in counters} == {name: before[name] for name in counters}


def test_learning_from_nothing_is_refused(clock):
    """With how much was searched in vain."""
    metrics = LoopMetrics(num_return_episodes=4)
    metrics.check_sets()
    metrics.add_fragment(_header(num_env_steps=64, num_sets=0, num_dropped_episodes=16))
    with pytest.raises(ValueError, match=r"no state of the first 64 environment steps kept .* 16 episodes"):
        metrics.check_sets()
    metrics.add_fragment(_header(num_env_steps=64, num_sets=1))
    metrics.check_sets()
