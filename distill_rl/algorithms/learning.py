"""Where updates happen: the learner in this process, or learners that update in the background."""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distill_rl.algorithms.backpressure import RequestPool
from distill_rl.algorithms.sampling import Fragment
from distill_rl.whereabouts import describe_process
from learners.learner import DistillLearner, LearnerReport

_PING_TIMEOUT_SEC = 1.0
_WAIT_SLICE_SEC = 0.5
_KILL_TIMEOUT_SEC = 10.0


class LearnerFailedError(RuntimeError):
    """A learner died, failed or does not answer; the message names it, its host and its log.

    The others cannot go on without it. `Distill.recover_learners` replaces them all.
    """


class FinishedCall(NamedTuple):
    """What one call of the learners was given, and one report from each of them."""

    fragments: Sequence[Fragment]
    reports: list[LearnerReport]


class LocalLearning:
    """Updates in this process, at once."""

    pending: list[ray.ObjectRef] = []  # never anything to wait for
    is_free = True

    def __init__(self, learner: DistillLearner) -> None:
        self._learner = learner
        self._finished: list[FinishedCall] = []

    def submit(self, fragments: Sequence[Fragment], num_updates: int) -> None:
        """Hands fragments to the learner and makes `num_updates` updates."""
        references = [fragment.reference_set for fragment in fragments]
        report = self._learner.update(references, num_updates=num_updates)
        self._finished.append(FinishedCall(fragments, [report]))

    def poll(self) -> list[FinishedCall]:
        """Returns the calls that were not polled yet, oldest first."""
        finished, self._finished = self._finished, []
        return finished

    def drain(self) -> None:
        """Discards what was not polled."""
        self._finished.clear()

    def settle(self) -> None:
        """Does nothing: calls end at once."""

    def check(self) -> None:
        """Does nothing: there is nobody to wait for."""

    def check_alive(self) -> None:
        """Does nothing: this process lives."""

    def describe(self) -> str:
        """Says what it waits for, for messages."""
        return "the local learner"


class RemoteLearning:
    """Updates on every learner of a group in step, up to two calls ahead.

    A learner that died is not replaced here: the others cannot go on without it, and its moving average and
    optimiser state are gone. The error says so; see `Distill.recover_learners`.
    """

    _MAX_IN_FLIGHT = 2  # one at work, one waiting

    def __init__(self, group: LearnerGroup, timeout_sec: float) -> None:
        self._workers = list(group._workers)
        self._places = [result.get() for result in group.foreach_learner(lambda learner: _find_place())]
        self._pool: RequestPool[int] = RequestPool(self._MAX_IN_FLIGHT, timeout_sec)
        self._calls: dict[int, _Call] = {}
        self._next_call = 0

    @property
    def pending(self) -> list[ray.ObjectRef]:
        """References to wait on: those of the oldest call."""
        return next((call.refs for call in self._calls.values()), [])

    @property
    def is_free(self) -> bool:
        """Whether another call may be submitted."""
        return self._pool.num_free(0) > 0

    @property
    def unfinished(self) -> list[Fragment]:
        """What the learners were given in calls that were not polled, oldest first."""
        return [fragment for call in self._calls.values() for fragment in call.fragments]

    def submit(self, fragments: Sequence[Fragment], num_updates: int) -> None:
        """Sends every learner all fragments and the same number of updates.

        Each keeps its share of the states. The number must be the same, since each update averages gradients
        over all of them.
        """
        number, self._next_call = self._next_call, self._next_call + 1
        self._pool.add(0, number)
        references = [fragment.reference_set for fragment in fragments]
        refs = [worker.update.remote(references, num_updates=num_updates) for worker in self._workers]
        self._calls[number] = _Call(fragments, refs)

    def poll(self) -> list[FinishedCall]:
        """Returns the calls that have finished since the last time, oldest first.

        Raises:
          LearnerFailedError: if a learner died or failed.
        """
        finished = []
        while self._calls:
            number, (fragments, refs) = next(iter(self._calls.items()))
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
            # A failed learner leaves the others waiting for it, so look at every answer at once.
            answers = {ref: self._get(refs.index(ref), ref) for ref in ready}
            if len(answers) < len(refs):
                break
            finished.append(FinishedCall(fragments, [answers[ref] for ref in refs]))
            self._pool.finish(number)
            del self._calls[number]
        return finished

    def drain(self) -> None:
        """Waits for the calls in flight and discards their reports, before the learners' state is replaced.

        Raises:
          LearnerFailedError: if they do not end in `timeout_sec` seconds, or a learner failed.
        """
        self.settle()
        self.poll()

    def settle(self) -> None:
        """Waits for the calls in flight, whose reports stay to be polled.

        Raises:
          LearnerFailedError: if they do not end in `timeout_sec` seconds, or a learner failed.
        """
        deadline = time.monotonic() + self._pool.timeout_sec
        for call in self._calls.values():
            waiting = call.refs
            while waiting:
                if time.monotonic() > deadline:
                    raise self._no_answer()
                # One by one: a learner that failed leaves the others waiting for it.
                ready, waiting = ray.wait(waiting, timeout=_WAIT_SLICE_SEC)
                for ref in ready:
                    self._get(call.refs.index(ref), ref)

    def check(self) -> None:
        """Checks that the learners answer.

        Raises:
          LearnerFailedError: if they have not for `timeout_sec` seconds.
        """
        if self._pool.overdue():
            raise self._no_answer()

    def check_alive(self) -> None:
        """Asks every learner for a sign of life; one that is busy counts as alive.

        Raises:
          LearnerFailedError: if one is dead.
        """
        for index, worker in enumerate(self._workers):
            try:
                ray.get(worker.__ray_ready__.remote(), timeout=_PING_TIMEOUT_SEC)
            except GetTimeoutError:
                continue
            except RayActorError as error:
                raise self._failed(index, error) from error

    def kill(self) -> None:
        """Kills every learner, also one that is stuck and hears nothing."""
        kill_process = ray.remote(num_cpus=0, max_retries=0)(_kill_process)
        kills = []
        for worker, place in zip(self._workers, self._places):
            ray.kill(worker)
            beside = NodeAffinitySchedulingStrategy(place.node_id, soft=False)
            kills.append(kill_process.options(scheduling_strategy=beside).remote(place.process_id))
        # On a machine that is gone the task fails, and there is nobody left to kill.
        ray.wait(kills, num_returns=len(kills), timeout=_KILL_TIMEOUT_SEC)

    def describe(self) -> str:
        """Says whom it waits for, for messages."""
        where = "; ".join(place.description for place in self._places)
        return f"{len(self._workers)} learners (in flight: {self._pool.describe()}; {where})"

    def _no_answer(self) -> LearnerFailedError:
        return LearnerFailedError(f"no answer for {self._pool.timeout_sec} s from {self.describe()}")

    def _failed(self, index: int, error: Exception) -> LearnerFailedError:
        name = f"learner {index} of {len(self._workers)} ({self._places[index].description})"
        return LearnerFailedError(f"{name} failed; resume from the last checkpoint: {error}")

    def _get(self, index: int, ref: ray.ObjectRef) -> LearnerReport:
        try:
            return ray.get(ref)
        except RayError as error:
            raise self._failed(index, error) from error


class _Call(NamedTuple):
    """A call that was not polled: what the learners were given, and their answers."""

    fragments: Sequence[Fragment]
    refs: list[ray.ObjectRef]


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a learner runs."""

    node_id: str
    process_id: int
    description: str


def _find_place() -> _Place:
    """Returns the place of the process that calls it."""
    return _Place(ray.get_runtime_context().get_node_id(), os.getpid(), describe_process())


def _kill_process(process_id: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)
