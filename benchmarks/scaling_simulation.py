"""A discrete-event model of actors, driver, learner, broadcast and stream, for `scaling_model.py`.

The model runs the loop's own `UpdateRatio` and `FragmentGate` against a simulated clock. Actors hold up to
two requests and pull weights before each fragment; the driver requests, takes and hands on; the learner has
two calls in flight at most, and the driver publishes after each. What takes time is drawn from measurements
(`ServiceTimes`). With `stream_messages` fragments travel through Redis instead: actors send batches while
fewer messages wait, and the driver decodes them.

It leaves out networks between machines, failures, evaluation, checkpoints, and whatever else grows with the
number of actors and is not in `ServiceTimes`.
"""

import collections
import dataclasses
import math
from collections.abc import Generator
from typing import Any

import numpy as np
import simpy
from scaling_layout import Layout, Outcome, ServiceTimes
from shared_cores import Process, SharedCores

from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.algorithms.update_ratio import UpdateRatio

_MIN_DURATION_SEC = 30.0
# Ray starts its workers with a niceness of 15; Linux gives that 36 where a driver's has 1,024.
_WORKER_WEIGHT = 36.0 / 1024.0


@dataclasses.dataclass
class _Fragment:
    actor_id: int
    sequence: int
    policy_version: int


class Loop:
    """One training loop in simulated time."""

    _MAX_CALLS, _MIN_CAPACITY = 2, 16  # as in the loop

    def __init__(self, times: ServiceTimes, layout: Layout, seed: int = 0):
        """Builds the parts.

        Args:
          times: measured.
          layout: what is simulated.
          seed: of the search times.
        """
        self._times, self._layout = times, layout
        self._env = simpy.Environment()
        self._cores = SharedCores(self._env, layout.num_cores)
        self._generator = np.random.default_rng(seed)
        self._ratio = UpdateRatio(
            layout.updates_per_step, LoopConfig.learning_starts, LoopConfig.max_pending_updates
        )
        self._gate = FragmentGate(LoopConfig.max_policy_lag)
        self._gate.publish(0)
        self._version = 0
        num_requests = 0 if layout.stream_messages else LoopConfig.max_requests_in_flight * layout.num_actors
        self._capacity = max(self._MIN_CAPACITY, 2 * num_requests)
        self._free = collections.deque(list(range(layout.num_actors)) * LoopConfig.max_requests_in_flight)
        self._requests = [simpy.Store(self._env) for _ in range(layout.num_actors)]
        self._num_in_flight = 0
        self._ready: list[_Fragment] = []
        self._num_queued = 0
        self._calls = simpy.Store(self._env)
        self._num_calls = 0
        self._reports: list[int] = []
        self._something = self._env.event()
        self._store = simpy.Resource(self._env)
        self._redis = simpy.Resource(self._env)
        self._room = simpy.Container(
            self._env, max(1, layout.stream_messages), init=max(1, layout.stream_messages)
        )
        self._stream: collections.deque[list[_Fragment]] = collections.deque()
        self._lag_sum, self._num_taken = 0.0, 0
        self._busy_sec = {"actor": 0.0, "driver": 0.0, "learner": 0.0}

    def run(self, warm_up_sec: float, duration_sec: float) -> Outcome:
        """Runs for a while.

        Args:
          warm_up_sec: seconds that are not counted.
          duration_sec: seconds that are.
        """
        actor = self._stream_actor if self._layout.stream_messages else self._actor
        for actor_id in range(self._layout.num_actors):
            self._env.process(actor(actor_id))
        self._env.process(self._driver())
        if not self._layout.is_local:
            self._env.process(self._learner())
        self._env.run(warm_up_sec)
        updates, num_stale_sets = self._ratio.num_updates, self._gate.num_stale_sets
        self._lag_sum, self._num_taken = 0.0, 0
        self._busy_sec = dict.fromkeys(self._busy_sec, 0.0)
        self._env.run(warm_up_sec + duration_sec)
        num_sets = self._num_taken * self._times.num_sets
        num_stale_sets = self._gate.num_stale_sets - num_stale_sets
        return Outcome(
            sets_per_sec=(num_sets - num_stale_sets) / duration_sec,
            stale_share=num_stale_sets / num_sets if num_sets else math.nan,
            updates_per_sec=(self._ratio.num_updates - updates) / duration_sec,
            lag_updates=self._lag_sum / self._num_taken if self._num_taken else math.nan,
            actor_share=self._busy_sec["actor"] / duration_sec / self._layout.num_actors,
            driver_share=self._busy_sec["driver"] / duration_sec,
            learner_share=self._busy_sec["learner"] / duration_sec,
        )

    def _work(self, who: str, duration_sec: float, weight: float = 1.0) -> Process:
        start = self._env.now
        yield self._cores.work(duration_sec, weight)
        self._busy_sec[who] += self._env.now - start

    def _search(self) -> Process:
        search_sec = float(self._generator.choice(self._times.search_sec))
        yield from self._work("actor", search_sec, _WORKER_WEIGHT)

    def _pull(self, version: int) -> Generator[simpy.Event, Any, int]:
        """Takes newer weights from the store, one actor after another; returns the version held."""
        if version == self._version:
            return version
        with self._store.request() as turn:
            yield turn
            yield self._cores.work(self._times.pull_sec, _WORKER_WEIGHT)
        return self._version

    def _actor(self, actor_id: int) -> Process:
        """Answers requests."""
        version = 0
        # Actors start one after another, not in step.
        yield self._env.timeout(self._generator.random() * float(self._times.search_sec.mean()))
        while True:
            sequence = yield self._requests[actor_id].get()
            version = yield from self._pull(version)
            yield from self._search()
            self._ready.append(_Fragment(actor_id, sequence, version))
            self._notify()

    def _stream_actor(self, actor_id: int) -> Process:
        """Searches on, and sends batches while there is room in Redis. Policies come on the side."""
        yield self._env.timeout(self._generator.random() * float(self._times.search_sec.mean()))
        while True:
            batch: list[_Fragment] = []
            start = self._env.now
            while not batch or not (
                len(batch) * self._times.fragment_bytes >= self._layout.batch_bytes
                or self._env.now - start >= self._layout.max_delay_sec
            ):
                version = self._version
                yield from self._search()
                batch.append(_Fragment(actor_id, self._gate.issue(actor_id), version))
            yield self._room.get(1)
            with self._redis.request() as turn:
                yield turn
                yield self._cores.work(len(batch) * self._times.redis_sec)
            self._stream.append(batch)
            self._notify()

    def _driver(self) -> Process:
        """Does what `Distill.training_step` does, in its order."""
        while True:
            yield from self._request()
            num_taken = yield from self._take()
            yield from self._take_reports()
            is_free = self._num_calls < self._MAX_CALLS
            if not (num_taken or (is_free and (self._ratio.due or self._num_queued))):
                if not self._reports:
                    self._something = self._env.event()
                    yield self._something
                continue
            yield from self._learn()

    def _learn(self) -> Process:
        yield from self._request()
        owed = self._ratio.due
        while self._num_calls < self._MAX_CALLS and (owed or self._num_queued):
            num_updates = self._ratio.take(min(owed, LoopConfig.updates_per_call))
            owed -= num_updates
            num_fragments, self._num_queued = self._num_queued, 0
            if self._layout.is_local:
                yield from self._work("driver", self._call_sec(num_fragments, num_updates))
                self._reports.append(num_updates)
            else:
                self._num_calls += 1
                yield self._calls.put((num_fragments, num_updates))
            yield from self._take_reports()
            if owed:
                yield from self._take()
                yield from self._request()

    def _request(self) -> Process:
        if self._layout.stream_messages or not self._ratio.can_insert:
            return
        while self._free and self._capacity - self._num_queued - self._num_in_flight > 0:
            actor_id = self._free.popleft()
            self._num_in_flight += 1
            yield self._requests[actor_id].put(self._gate.issue(actor_id))

    def _take(self) -> Generator[simpy.Event, Any, int]:
        """Takes what is ready; what comes meanwhile waits for the next time."""
        if self._layout.stream_messages:
            return (yield from self._take_stream())
        ready, self._ready = self._ready, []
        cost = len(ready) * self._times.driver_sec + self._num_in_flight * self._times.wait_sec_per_request
        yield from self._work("driver", cost)
        for fragment in ready:
            self._free.append(fragment.actor_id)
            self._num_in_flight -= 1
            self._accept(fragment)
        return len(ready)

    def _take_stream(self) -> Generator[simpy.Event, Any, int]:
        num_taken = 0
        while self._stream and self._ratio.can_insert and self._num_queued < self._capacity:
            batch = self._stream.popleft()
            yield from self._work("driver", len(batch) * (self._times.decode_sec + self._times.driver_sec))
            yield self._room.put(1)
            for fragment in batch:
                self._accept(fragment)
            num_taken += len(batch)
        return num_taken

    def _accept(self, fragment: _Fragment) -> None:
        is_wanted = self._gate.accept(
            actor_id=fragment.actor_id,
            sequence=fragment.sequence,
            policy_version=fragment.policy_version,
            num_sets=self._times.num_sets,
        )
        self._lag_sum += self._version - fragment.policy_version
        self._num_taken += 1
        self._num_queued += is_wanted
        self._ratio.insert(self._times.num_sets)

    def _take_reports(self) -> Process:
        while self._reports:
            num_updates = self._reports.pop(0)
            if num_updates:
                yield from self._work("driver", self._times.publish_sec)
                self._version += num_updates
                self._gate.publish(self._version)

    def _learner(self) -> Process:
        while True:
            num_fragments, num_updates = yield self._calls.get()
            yield from self._work("learner", self._call_sec(num_fragments, num_updates))
            self._num_calls -= 1
            self._reports.append(num_updates)
            self._notify()

    def _call_sec(self, num_fragments: int, num_updates: int) -> float:
        update_sec = self._times.update_sec / self._layout.num_learners
        return num_fragments * self._times.add_sec + num_updates * update_sec

    def _notify(self) -> None:
        if not self._something.triggered:
            self._something.succeed()


def actors_per_learner(times: ServiceTimes, updates_per_step: float) -> float:
    """Returns how many actors keep one learner busy: the ratio of what a fragment costs either of them."""
    num_updates = updates_per_step * times.num_sets
    return float(times.search_sec.mean()) / (times.add_sec + num_updates * times.update_sec)


def simulate(times: ServiceTimes, layout: Layout, num_periods: float = 4.0, seed: int = 0) -> Outcome:
    """Runs a layout, long enough to see it settle.

    A learner that cannot keep up takes fragments in bursts: as many as are in flight, and then none until the
    updates that they are worth are made. The run is several of these periods long.

    Args:
      times: measured.
      layout: what is simulated.
      num_periods: that are counted; half as many before are not, in which owed updates pile up.
      seed: of the search times.
    """
    num_updates = layout.updates_per_step * times.num_sets
    learner_sec = times.add_sec + times.driver_sec + num_updates * times.update_sec / layout.num_learners
    num_waiting = LoopConfig.max_requests_in_flight * layout.num_actors
    if layout.stream_messages:
        num_waiting = layout.stream_messages * max(1, layout.batch_bytes // times.fragment_bytes)
    period_sec = num_waiting * learner_sec + 4.0 * float(times.search_sec.mean())
    duration_sec = max(num_periods * period_sec, _MIN_DURATION_SEC)
    return Loop(times, layout, seed).run(max(0.5 * duration_sec, _MIN_DURATION_SEC), duration_sec)
