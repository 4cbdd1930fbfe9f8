"""Requests to runners that search, without Ray: runners that answer, fail, and fall silent."""

import types

import pytest
import ray
from ray.exceptions import RayActorError, RayTaskError

from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.algorithms.sampling import LocalSampler, RemoteSampler

_STORE = "the store"


class _Runner:
    """Stands for the handle of a runner: notes what it is asked for, and holds what it will answer."""

    def __init__(self, actor_id):
        self.actor_id = actor_id
        self.requests = []
        self.answers = {}
        self.num_kills = 0
        self.collect = self

    def options(self, num_returns):
        return self

    def remote(self, sequence, store):
        assert store == _STORE
        self.requests.append(sequence)
        return (self.actor_id, sequence), f"sets {self.actor_id}.{sequence}"

    def answer(self, sequence, error=None):
        header = types.SimpleNamespace(sequence=sequence, origin=f"host of {self.actor_id}")
        self.answers[self.actor_id, sequence] = error or header


class _Group:
    """Two runners, in the place of RLlib's group."""

    def __init__(self):
        self.runners = {actor_id: _Runner(actor_id) for actor_id in (1, 2)}
        self.unhealthy = set()
        self._worker_manager = self
        self._remote_config = types.SimpleNamespace(restart_failed_env_runners=True)

    def actors(self):
        return self.runners

    def healthy_env_runner_ids(self):
        return [actor_id for actor_id in self.runners if actor_id not in self.unhealthy]

    def set_actor_state(self, actor_id, healthy):
        self.unhealthy.add(actor_id)


@pytest.fixture
def group(monkeypatch):
    group = _Group()

    def answers():
        return {ref: found for runner in group.runners.values() for ref, found in runner.answers.items()}

    def wait(refs, num_returns, timeout):
        return [ref for ref in refs if ref in answers()], []

    def get(ref):
        found = answers()[ref]
        if isinstance(found, Exception):
            raise found
        return found

    def kill(runner, no_restart):
        runner.num_kills += 1

    for name, function in {"wait": wait, "get": get, "kill": kill}.items():
        monkeypatch.setattr(ray, name, function)
    return group


@pytest.fixture
def make_sampler(group):
    """Returns a function of the settings that gives a sampler and its gate."""

    def make(**settings):
        gate = FragmentGate()
        publisher = types.SimpleNamespace(store=_STORE)
        return RemoteSampler(group, publisher, gate, LoopConfig(**settings)), gate

    return make


def _broken():
    return RayTaskError("collect", "trace of what is broken", RuntimeError())


def test_requests_go_to_the_least_busy_first(group, make_sampler):
    """Round by round, up to what each may hold and what there is room for."""
    sampler, _ = make_sampler(max_requests_in_flight=2)
    sampler.request(3)
    assert [runner.requests for runner in group.runners.values()] == [[0, 1], [0]]
    sampler.request(9)
    assert [runner.requests for runner in group.runners.values()] == [[0, 1], [0, 1]]
    sampler.request(9)
    assert len(sampler.pending) == 4


def test_fragments_come_with_their_sets(group, make_sampler):
    """Those that are ready; the others stay in flight."""
    sampler, _ = make_sampler(max_requests_in_flight=1)
    assert sampler.poll() == []
    sampler.request(2)
    group.runners[2].answer(0)
    (fragment,) = sampler.poll()
    assert (fragment.header.origin, fragment.reference_set) == ("host of 2", "sets 2.0")
    assert sampler.pending == [(1, 0)] and sampler.poll() == []


def test_a_runner_that_dies_loses_its_requests(group, make_sampler):
    """They are counted as lost, and it is asked for nothing until it is back."""
    sampler, gate = make_sampler(max_requests_in_flight=2)
    sampler.request(4)
    group.runners[1].answer(0, RayActorError())
    group.runners[2].answer(0)
    (fragment,) = sampler.poll()
    assert fragment.header.origin == "host of 2"
    assert gate.num_lost == 2 and sampler.pending == [(2, 1)]
    sampler.request(9)
    assert group.runners[1].requests == [0, 1] and group.runners[2].requests == [0, 1, 2]
    group.unhealthy.clear()
    sampler.request(9)
    assert group.runners[1].requests == [0, 1, 2, 3]


def test_code_that_never_worked_is_told_at_once(group, make_sampler):
    """A restart would not mend it. Where it has worked before, the runner is restarted."""
    sampler, _ = make_sampler()
    sampler.request(1)
    group.runners[1].answer(0, _broken())
    with pytest.raises(RayTaskError, match="broken"):
        sampler.poll()
    sampler, _ = make_sampler(max_requests_in_flight=2)
    sampler.request(3)
    group.runners[1].answer(0)
    assert len(sampler.poll()) == 1
    group.runners[1].answer(1, _broken())
    assert sampler.poll() == []
    assert group.runners[1].num_kills == 1 and group.unhealthy == {1}


def test_too_many_failures_in_a_row_end_the_run(group, make_sampler):
    """A fragment in between starts the count anew; the message names the runner."""
    sampler, _ = make_sampler(max_consecutive_failures=2, max_requests_in_flight=1)

    def fail(actor_id):
        group.unhealthy.clear()
        sampler.request(2)
        group.runners[actor_id].answer(group.runners[actor_id].requests[-1], RayActorError())
        return sampler.poll()

    fail(1)
    group.runners[2].answer(0)
    assert len(sampler.poll()) == 1
    fail(1)
    with pytest.raises(RayActorError) as raised:
        fail(2)
    assert raised.value.__notes__ == ["from env runner 2 (host of 2)"]


def test_a_failure_ends_the_run_where_restarts_are_off(group, make_sampler):
    """RLlib's own setting."""
    sampler, _ = make_sampler()
    group._remote_config.restart_failed_env_runners = False
    sampler.request(1)
    group.runners[1].answer(0, RayActorError())
    with pytest.raises(RayActorError):
        sampler.poll()


def test_a_silent_runner_is_killed(group, make_sampler, monkeypatch):
    """After the timeout, not before."""
    sampler, gate = make_sampler(request_timeout_sec=5.0, max_requests_in_flight=1)
    now = [0.0]
    monkeypatch.setattr(sampler._pool, "_clock", lambda: now[0])
    sampler.request(1)
    now[0] = 4.9
    sampler.check()
    assert group.runners[1].num_kills == 0
    now[0] = 5.1
    sampler.check()
    assert group.runners[1].num_kills == 1 and gate.num_lost == 1 and sampler.pending == []


def test_the_runner_in_this_process_searches_when_it_is_polled():
    """Once for each request, and never without room."""
    gate = FragmentGate()
    runner = types.SimpleNamespace(collect=lambda sequence: (f"header {sequence}", "sets"))
    sampler = LocalSampler(runner, gate)
    assert sampler.poll() == []
    sampler.request(5)
    (fragment,) = sampler.poll()
    assert (fragment.header, fragment.reference_set) == ("header 0", "sets")
    assert sampler.poll() == []
    sampler.request(0)
    assert sampler.poll() == []
