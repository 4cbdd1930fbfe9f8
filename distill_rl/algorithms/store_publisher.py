"""Publishes weights to a store that may die."""

import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    ActorUnschedulableError,
    GetTimeoutError,
    RayActorError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distill_rl.algorithms.loop_metrics import LoopMetrics
from distill_rl.algorithms.weight_store import WeightStore

_logger = logging.getLogger(__name__)

_RETRY_SEC = 0.5


def start_store() -> Any:
    """Starts a weight store beside the driver, so that no other machine's death takes it away."""
    # Softly it may start on any node while the cluster has not heard enough of this one.
    beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(WeightStore).options(scheduling_strategy=beside).remote()


class StorePublisher:
    """Publishes to a weight store of its own, and replaces it when it dies.

    Args:
      timeout_sec: how long a publication may take.
      metrics: counts the stores that were replaced.
      start_fn: starts a store.

    Attributes:
      store: the actor that runners pull from; None before the first publication.
    """

    def __init__(
        self, timeout_sec: float, metrics: LoopMetrics, start_fn: Callable[[], Any] = start_store
    ) -> None:
        self._timeout_sec = timeout_sec
        self._metrics = metrics
        self._start_fn = start_fn
        self.store: Any = None

    def publish(self, policy_version: int, weights: Any) -> None:
        """Publishes weights, to a new store if the old one has died.

        Raises:
          TimeoutError: if no store answers in `timeout_sec` seconds.
        """
        deadline = time.monotonic() + self._timeout_sec
        while not self._try_to_publish(policy_version, weights):
            if time.monotonic() > deadline:
                raise self._no_answer()
            time.sleep(_RETRY_SEC)

    def close(self) -> None:
        """Stops the store."""
        if self.store is not None:
            ray.kill(self.store)
            self.store = None

    def _try_to_publish(self, policy_version: int, weights: Any) -> bool:
        if self.store is None:
            self.store = self._start_fn()
        try:
            ray.get(self.store.publish.remote(policy_version, weights), timeout=self._timeout_sec)
        except ActorUnavailableError as error:
            _logger.warning("the weight store cannot be reached: %s", error)
            return False
        except ActorUnschedulableError as error:
            _logger.warning("the weight store has no place beside the driver yet: %s", error)
            self.store = None
            return False
        except RayActorError as error:
            _logger.warning("the weight store died and is replaced: %s", error)
            self.store = None
            self._metrics.num_store_restarts += 1
            return False
        except GetTimeoutError as error:
            raise self._no_answer() from error
        return True

    def _no_answer(self) -> TimeoutError:
        return TimeoutError(f"the weight store did not answer for {self._timeout_sec} s")
