"""Calls of learners, without Ray: learners that answer, fail, and fall silent."""

import types

import pytest
import ray
from learner_reports import make_report
from ray.exceptions import ActorDiedError, GetTimeoutError

from distill_rl.algorithms.learning import LearnerFailedError, LocalLearning, RemoteLearning
from distill_rl.algorithms.sampling import Fragment


def _fragments(*names):
    return [Fragment(f"header {name}", f"sets {name}") for name in names]


class _Worker:
    """Stands for the handle of a learner: notes its calls, whose answers are set from outside."""

    def __init__(self, index):
        self.index = index
        self.calls = []
        self.is_dead = False
        self.update = self
        self.__ray_ready__ = types.SimpleNamespace(remote=lambda: (self.index, "ready"))

    def remote(self, references, num_updates):
        self.calls.append((references, num_updates))
        return self.index, len(self.calls)


class _Group:
    """Two learners, in the place of RLlib's group."""

    def __init__(self):
        self._workers = [_Worker(0), _Worker(1)]

    def foreach_learner(self, function):
        place = types.SimpleNamespace(node_id="node", process_id=1, description="host a, pid 1")
        return [types.SimpleNamespace(get=lambda: place) for _ in self._workers]


@pytest.fixture
def answers(monkeypatch):
    """Answers by reference, `(learner, number of the call)`; what has none is not ready."""
    answers = {}

    def wait(refs, num_returns=1, timeout=None):
        ready = [ref for ref in refs if ref in answers][:num_returns]
        return ready, [ref for ref in refs if ref not in ready]

    def get(ref, timeout=None):
        if isinstance(answers.get(ref), Exception):
            raise answers[ref]
        return answers[ref]

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", get)
    return answers


@pytest.fixture
def group(answers):
    return _Group()


@pytest.fixture
def learning(group):
    return RemoteLearning(group, timeout_sec=5.0)


def test_the_learner_in_this_process_reports_what_it_was_given():
    """Each call once, with its fragments; what is drained is not reported."""
    calls = []

    def update(references, num_updates):
        calls.append((references, num_updates))
        return make_report(num_updates=num_updates)

    learning = LocalLearning(types.SimpleNamespace(update=update))
    learning.submit(_fragments("a", "b"), 3)
    learning.submit([], 2)
    assert calls == [(["sets a", "sets b"], 3), ([], 2)]
    first, second = learning.poll()
    assert first.fragments == _fragments("a", "b") and second.reports[0].num_updates == 2
    learning.submit(_fragments("c"), 1)
    learning.drain()
    assert learning.poll() == []


def test_every_learner_gets_every_call(group, learning):
    """Two calls at a time: one at work, one waiting."""
    assert learning.is_free
    learning.submit(_fragments("a"), 3)
    assert learning.is_free
    learning.submit(_fragments("b"), 1)
    assert not learning.is_free
    assert [worker.calls for worker in group._workers] == [[(["sets a"], 3), (["sets b"], 1)]] * 2
    assert learning.pending == [(0, 1), (1, 1)]
    assert learning.unfinished == _fragments("a", "b")


def test_a_call_is_finished_when_all_learners_are(answers, learning):
    """Calls come in their order, with a report of each learner; a later one waits for those before."""
    learning.submit(_fragments("a"), 1)
    learning.submit(_fragments("b"), 1)
    answers |= {(0, 1): "r01", (0, 2): "r02", (1, 2): "r12"}
    assert learning.poll() == []
    answers[1, 1] = "r11"
    first, second = learning.poll()
    assert (first.fragments, first.reports) == (_fragments("a"), ["r01", "r11"])
    assert (second.fragments, second.reports) == (_fragments("b"), ["r02", "r12"])
    assert learning.poll() == [] and learning.pending == [] and learning.unfinished == []
    assert learning.is_free


def test_a_failure_is_told_before_the_others_have_answered(answers, learning):
    """They may wait for the failed one for ever; what was given to it is still known."""
    learning.submit(_fragments("a"), 1)
    answers[1, 1] = ActorDiedError()
    with pytest.raises(LearnerFailedError, match=r"learner 1 of 2 \(host a, pid 1\) failed; resume from"):
        learning.poll()
    with pytest.raises(LearnerFailedError, match=r"learner 1 of 2 \(host a, pid 1\) failed; resume from"):
        learning.settle()
    assert learning.unfinished == _fragments("a")


def test_settled_calls_can_still_be_polled(answers, learning):
    """Drained ones cannot."""
    answers |= {(learner, call): "report" for learner in (0, 1) for call in (1, 2)}
    learning.submit(_fragments("a"), 1)
    learning.settle()
    assert len(learning.poll()) == 1
    learning.submit(_fragments("b"), 1)
    learning.drain()
    assert learning.poll() == [] and learning.unfinished == []


def test_silence_is_told_after_the_timeout(learning, monkeypatch):
    """By the check, and by whoever waits for the calls to end."""
    now = [0.0]
    monkeypatch.setattr(learning._pool, "_clock", lambda: now[0])
    learning.submit(_fragments("a"), 1)
    learning.check()
    now[0] = 5.1
    message = r"no answer for 5.0 s from 2 learners \(in flight: 0: 1 requests, silent for 5.1 s; host a"
    with pytest.raises(LearnerFailedError, match=message):
        learning.check()
    learning._pool.timeout_sec = 0.0
    with pytest.raises(LearnerFailedError, match=r"no answer for 0\.0 s"):
        learning.settle()


def test_a_busy_learner_counts_as_alive_and_a_dead_one_does_not(answers, learning):
    """A sign of life that does not come in time is none of death."""
    answers |= {(0, "ready"): True, (1, "ready"): GetTimeoutError()}
    learning.check_alive()
    answers[0, "ready"] = ActorDiedError()
    with pytest.raises(LearnerFailedError, match="learner 0 of 2"):
        learning.check_alive()
