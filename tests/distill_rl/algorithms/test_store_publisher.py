import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, ActorUnschedulableError, GetTimeoutError

from distill_rl.algorithms import store_publisher
from distill_rl.algorithms.loop_metrics import LoopMetrics
from distill_rl.algorithms.store_publisher import StorePublisher


class _Store:
    """Stands for the handle of a store whose answers, exceptions among them, are known beforehand."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.published = []
        self.publish = self

    def remote(self, policy_version, weights):
        self.published.append((policy_version, weights))
        return self._answers.pop(0)


@pytest.fixture
def publish(monkeypatch):
    """Publishes version 5 to stores in turn; returns the publisher and its metrics."""

    def get(answer, timeout):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(store_publisher, "_RETRY_SEC", 0.0)

    def run(*stores, timeout_sec=10.0):
        metrics, waiting = LoopMetrics(num_return_episodes=1), list(stores)
        publisher = StorePublisher(timeout_sec, metrics, lambda: waiting.pop(0))
        publisher.publish(5, "w5")
        return publisher, metrics

    return run


def test_a_store_that_died_is_replaced(publish):
    """The new one gets the weights, and the replacement is counted."""
    dead, fresh = _Store(ActorDiedError()), _Store(1)
    publisher, metrics = publish(dead, fresh)
    assert publisher.store is fresh and fresh.published == [(5, "w5")]
    assert metrics.num_store_restarts == 1


def test_a_store_without_a_place_is_started_again(publish):
    """The cluster may not have heard of the driver's node yet; nothing died, so nothing is counted."""
    nowhere, fresh = _Store(ActorUnschedulableError("no such node")), _Store(1)
    publisher, metrics = publish(nowhere, fresh)
    assert publisher.store is fresh
    assert metrics.num_store_restarts == 0


def test_a_store_out_of_reach_is_asked_again(publish):
    """It may come back with what it holds, so it is not replaced."""
    store = _Store(ActorUnavailableError("away", None), 1)
    publisher, metrics = publish(store)
    assert publisher.store is store and len(store.published) == 2
    assert metrics.num_store_restarts == 0


@pytest.mark.parametrize(
    ("answer", "timeout_sec"), [(GetTimeoutError(), 10.0), (ActorUnavailableError("away", None), 0.0)]
)
def test_a_store_that_stays_silent_ends_the_wait(publish, answer, timeout_sec):
    """Whether it hangs or cannot be reached."""
    with pytest.raises(TimeoutError, match=f"the weight store did not answer for {timeout_sec} s"):
        publish(_Store(answer), timeout_sec=timeout_sec)
