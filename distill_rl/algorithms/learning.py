"""Where updates happen: the learner in this process, or learners that update in the background."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.rllib.core.learner.learner_group import LearnerGroup

from distill_rl.algorithms.backpressure import RequestPool
from learners.learner import DistillLearner, LearnerReport


class LocalLearning:
    """Updates in this process, at once."""

    pending: list[ray.ObjectRef] = []  # never anything to wait for
    is_free = True

    def __init__(self, learner: DistillLearner) -> None:
        self._learner = learner
        self._reports: list[list[LearnerReport]] = []

    def submit(self, references: Sequence[Any], num_updates: int) -> None:
        """Hands reference sets to the learner and makes `num_updates` updates."""
        self._reports.append([self._learner.update(references, num_updates=num_updates)])

    def poll(self) -> list[list[LearnerReport]]:
        """Returns the reports that are new, each as a list with one report for each learner."""
        reports, self._reports = self._reports, []
        return reports

    def drain(self) -> None:
        """Discards what was not polled."""
        self._reports.clear()

    def check(self) -> None:
        """Does nothing: there is nobody to wait for."""

    def describe(self) -> str:
        """Says what it waits for, for messages."""
        return "the local learner"


class RemoteLearning:
    """Updates on every learner of a group in step, up to two calls ahead.

    A learner that died is not replaced: the others cannot go on without it, and its moving average and
    optimiser state are gone. The error says so; resume from a checkpoint.
    """

    _MAX_IN_FLIGHT = 2  # one at work, one waiting

    def __init__(self, group: LearnerGroup, timeout_sec: float) -> None:
        self._workers = list(group._workers)
        self._pool: RequestPool[int] = RequestPool(self._MAX_IN_FLIGHT, timeout_sec)
        self._calls: dict[int, list[ray.ObjectRef]] = {}
        self._next_call = 0

    @property
    def pending(self) -> list[ray.ObjectRef]:
        """References to wait on: those of the oldest call."""
        return next(iter(self._calls.values()), [])

    @property
    def is_free(self) -> bool:
        """Whether another call may be submitted."""
        return self._pool.num_free(0) > 0

    def submit(self, references: Sequence[Any], num_updates: int) -> None:
        """Sends every learner all references and the same number of updates.

        Each keeps its share of the states. The number must be the same, since each update averages gradients
        over all of them.
        """
        call, self._next_call = self._next_call, self._next_call + 1
        self._pool.add(0, call)
        self._calls[call] = [
            worker.update.remote(list(references), num_updates=num_updates) for worker in self._workers
        ]

    def poll(self) -> list[list[LearnerReport]]:
        """Returns the reports of finished calls, oldest first, with one report for each learner in each.

        Raises:
          RuntimeError: if a learner died or failed, naming it.
        """
        reports = []
        while self._calls:
            call, refs = next(iter(self._calls.items()))
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
            # A failed learner leaves the others waiting for it, so look at every answer at once.
            answers = {ref: self._get(refs.index(ref), ref) for ref in ready}
            if len(answers) < len(refs):
                break
            reports.append([answers[ref] for ref in refs])
            self._pool.finish(call)
            del self._calls[call]
        return reports

    def drain(self) -> None:
        """Waits for the calls in flight and discards their reports, before the learners' state is replaced.

        Raises:
          TimeoutError: if they do not end in `timeout_sec` seconds.
        """
        refs = [ref for call in self._calls.values() for ref in call]
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=self._pool.timeout_sec) if refs else ([], [])
        if len(ready) < len(refs):
            raise TimeoutError(f"no answer for {self._pool.timeout_sec} s from {self.describe()}")
        self.poll()

    def check(self) -> None:
        """Checks that the learners answer.

        Raises:
          TimeoutError: if they have not for `timeout_sec` seconds.
        """
        if self._pool.overdue():
            raise TimeoutError(f"no answer for {self._pool.timeout_sec} s from {self.describe()}")

    def describe(self) -> str:
        """Says whom it waits for, for messages."""
        return f"{len(self._workers)} learners (in flight: {self._pool.describe()})"

    def _get(self, index: int, ref: ray.ObjectRef) -> LearnerReport:
        try:
            return ray.get(ref)
        except RayError as error:
            raise RuntimeError(
                f"learner {index} of {len(self._workers)} failed; resume from the last checkpoint: {error}"
            ) from error
