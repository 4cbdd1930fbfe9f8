import pytest
from learner_reports import make_report

from distill_rl.algorithms.broadcast import Broadcast
from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.loop_metrics import LoopMetrics


class _Broadcasting:
    """A broadcast every 10 updates, to two listeners."""

    def __init__(self):
        self.sent = []
        self.gate = FragmentGate()
        self.metrics = LoopMetrics(num_return_episodes=1)
        listeners = [lambda *what, name=name: self.sent.append((name, *what)) for name in ("runner", "edge")]
        self.broadcast = Broadcast(listeners, self.gate, self.metrics, interval_updates=10)

    def lag_of(self, policy_version):
        sequence = self.gate.issue(0)
        self.gate.accept(actor_id=0, sequence=sequence, policy_version=policy_version, num_sets=1)
        return self.gate.pop_lags()[0]


@pytest.fixture
def broadcasting():
    return _Broadcasting()


def test_weights_reach_everyone_and_move_the_version(broadcasting):
    """All that act get them, in order; lags are counted from them."""
    broadcasting.broadcast.offer(make_report(10, num_updates=10, weights="w10"))
    assert broadcasting.sent == [("runner", 10, "w10"), ("edge", 10, "w10")]
    assert broadcasting.metrics.policy_version == 10
    assert broadcasting.lag_of(3) == [7]


def test_weights_closer_than_the_interval_stay(broadcasting):
    """Nine updates after the last broadcast nothing goes out, ten after it does; nor without any update."""
    versions = (0, 9, 10, 19, 20)
    for version in versions:
        broadcasting.broadcast.offer(make_report(version, num_updates=1, weights="w"))
    broadcasting.broadcast.offer(make_report(99, num_updates=0, weights="w"))
    assert [version for name, version, _ in broadcasting.sent if name == "runner"] == [10, 20]


def test_weights_that_are_not_finite_are_counted_and_stay(broadcasting):
    """The version stays that of the last good ones."""
    broadcasting.broadcast.offer(make_report(50, num_updates=50, weights=None))
    assert broadcasting.sent == []
    assert (broadcasting.metrics.num_unpublished, broadcasting.metrics.policy_version) == (1, 0)


def test_start_publishes_an_older_version(broadcasting):
    """After a restore lower versions go out, and the interval counts from there."""
    broadcasting.broadcast.offer(make_report(50, num_updates=50, weights="w50"))
    broadcasting.broadcast.start(make_report(20, weights="w20"))
    broadcasting.broadcast.offer(make_report(30, num_updates=10, weights="w30"))
    assert [version for name, version, _ in broadcasting.sent if name == "edge"] == [50, 20, 30]
    assert broadcasting.lag_of(20) == [10]


def test_start_refuses_weights_that_are_not_finite(broadcasting):
    """Nothing could act with them."""
    with pytest.raises(ValueError, match="`weights` must be finite, got version 7"):
        broadcasting.broadcast.start(make_report(7, weights=None))
