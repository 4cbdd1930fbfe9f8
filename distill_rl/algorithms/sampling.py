"""Where fragments come from: the runner in this process, or runners that search in the background."""

import abc
import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import ray
from ray.exceptions import RayActorError, RayError
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from actors.fragment import FragmentHeader
from actors.runner import SearchEnvRunner
from distill_rl.algorithms.backpressure import RequestPool
from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.algorithms.store_publisher import StorePublisher

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Fragment:
    """A header with its reference sets: the sets themselves, or a reference that this process owns."""

    header: FragmentHeader
    reference_set: Any


class Sampler(abc.ABC):
    """Brings fragments to the loop.

    Attributes:
      runs_in_background: whether searches go on while the driver does something else.
      may_be_silent: whether nothing may come for as long as it likes.
    """

    runs_in_background: ClassVar[bool] = True
    may_be_silent: ClassVar[bool] = False

    @property
    def pending(self) -> list[ray.ObjectRef]:
        """References to wait on."""
        return []

    @abc.abstractmethod
    def request(self, max_requests: int) -> None:
        """Asks for at most `max_requests` fragments."""

    @abc.abstractmethod
    def poll(self) -> list[Fragment]:
        """Returns the fragments that are ready, without waiting."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Says whom it waits for, for messages."""

    def wait(self, timeout_sec: float) -> None:
        """Waits where nothing is `pending`."""
        time.sleep(timeout_sec)

    def check(self) -> None:
        """Looks after whoever searches. Does nothing unless overridden."""
        return

    def settle(self, fragments: Sequence[Fragment]) -> None:
        """Notes that the learner has some fragments, or that they were dropped and counted."""
        return

    def forget(self) -> None:
        """Forgets what was not settled."""
        return

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs to go on; empty if there is nothing."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        return


class LocalSampler(Sampler):
    """Searches in this process, one fragment for each request."""

    runs_in_background = False

    def __init__(self, runner: SearchEnvRunner, gate: FragmentGate) -> None:
        self._runner = runner
        self._gate = gate
        self._is_requested = False

    def request(self, max_requests: int) -> None:
        """Asks for a fragment, which the next `poll` searches."""
        self._is_requested = max_requests > 0

    def poll(self) -> list[Fragment]:
        """Searches what was asked for."""
        if not self._is_requested:
            return []
        self._is_requested = False
        return [Fragment(*self._runner.collect(self._gate.issue(0)))]

    def describe(self) -> str:
        """Says what it waits for, for messages."""
        return "the local env runner"


class RemoteSampler(Sampler):
    """Keeps every healthy runner busy, and collects what is ready.

    Each runner holds up to `max_requests_in_flight` requests, so that it starts the next fragment while the
    last one is learned from. A runner that dies, or is silent for too long, loses its requests (counted by
    the gate) and comes back through RLlib's restarts.
    """

    def __init__(
        self, group: EnvRunnerGroup, publisher: StorePublisher, gate: FragmentGate, config: LoopConfig
    ) -> None:
        self._group = group
        self._publisher = publisher
        self._gate = gate
        self._config = config
        self._pool: RequestPool[ray.ObjectRef] = RequestPool(
            config.max_requests_in_flight, config.request_timeout_sec
        )
        self._sets: dict[ray.ObjectRef, ray.ObjectRef] = {}
        self._origins: dict[int, str] = {}  # of those that have delivered
        self._num_failures = 0

    @property
    def pending(self) -> list[ray.ObjectRef]:
        """References to wait on."""
        return self._pool.requests

    def request(self, max_requests: int) -> None:
        """Sends at most `max_requests` requests to healthy runners, least busy ones first."""
        if max_requests <= 0:
            return
        num_free = {
            actor_id: self._pool.num_free(actor_id) for actor_id in self._group.healthy_env_runner_ids()
        }
        # Round by round: first who can take most, and of equals in the order of their ids.
        by_round = [
            actor_id
            for free in range(self._config.max_requests_in_flight, 0, -1)
            for actor_id in num_free
            if num_free[actor_id] >= free
        ]
        for actor_id in by_round[:max_requests]:
            self._send(actor_id)

    def poll(self) -> list[Fragment]:
        """Returns the fragments that are ready, without waiting.

        Raises:
          RayError: what a runner's code raised, if it never delivered anything, if restarts are off, or after
            too many failures in a row.
        """
        pending = self.pending
        if not pending:
            return []
        ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        fragments = [self._receive(header) for header in ready if header in self._sets]
        return [fragment for fragment in fragments if fragment is not None]

    def check(self) -> None:
        """Kills runners that have been silent for too long, so that they are restarted."""
        for actor_id in self._pool.overdue():
            reason = TimeoutError(
                f"no fragment for {self._config.request_timeout_sec} s from {self._pool.describe([actor_id])}"
            )
            self._kill(actor_id)
            self._fail(actor_id, reason)

    def describe(self) -> str:
        """Says whom it waits for, for messages."""
        healthy = self._group.healthy_env_runner_ids()
        return f"env runners (healthy: {healthy}; in flight: {self._pool.describe()})"

    def _send(self, actor_id: int) -> None:
        collect = self._group._worker_manager.actors()[actor_id].collect.options(num_returns=2)
        header, reference_set = collect.remote(self._gate.issue(actor_id), self._publisher.store)
        self._pool.add(actor_id, header)
        self._sets[header] = reference_set

    def _receive(self, header_ref: ray.ObjectRef) -> Fragment | None:
        reference_set = self._sets.pop(header_ref)
        actor_id = self._pool.finish(header_ref)
        try:
            header = ray.get(header_ref)
        except RayActorError as error:
            self._fail(actor_id, error)
            return None
        except RayError as error:
            if actor_id not in self._origins:
                raise
            self._kill(actor_id)
            self._fail(actor_id, error)
            return None
        self._origins[actor_id] = header.origin
        self._num_failures = 0
        return Fragment(header, reference_set)

    def _kill(self, actor_id: int) -> None:
        ray.kill(self._group._worker_manager.actors()[actor_id], no_restart=False)

    def _fail(self, actor_id: int, error: Exception) -> None:
        """Takes a runner out of service until RLlib finds it restarted."""
        self._num_failures += 1
        self._pool.forget(actor_id)
        self._sets = {header: self._sets[header] for header in self._pool.requests}
        self._gate.forget(actor_id)
        self._group._worker_manager.set_actor_state(actor_id, healthy=False)
        too_many = self._num_failures >= self._config.max_consecutive_failures
        name = f"env runner {actor_id} ({self._origins.get(actor_id, 'has not delivered anything')})"
        if too_many or not self._group._remote_config.restart_failed_env_runners:
            error.add_note(f"from {name}")
            raise error
        _logger.warning("%s failed and is restarted: %s", name, error)
