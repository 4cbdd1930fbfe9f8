import pytest

from distill_rl.algorithms.backpressure import BoundedQueue, RequestPool


def test_queue_drops_oldest_and_counts():
    """A full queue drops and hands back its oldest item, and every drop is counted."""
    queue = BoundedQueue(3)
    assert [queue.put(i) for i in range(5)] == [None, None, None, 0, 1]
    assert queue.fill == 1.0
    assert queue.pop_all() == [2, 3, 4]
    assert queue.num_dropped == 2
    assert len(queue) == 0


def test_sizes_are_checked():
    """A queue or a pool of nothing would never work."""
    with pytest.raises(ValueError, match="`capacity` must be an integer of at least 1, got 0"):
        BoundedQueue(0)
    with pytest.raises(ValueError, match="`max_in_flight` must be an integer of at least 1, got 0"):
        RequestPool(0, timeout_sec=1.0)


def test_pool_bounds_requests_of_each_owner():
    """An owner holds `max_in_flight` requests at most; owners do not share the bound."""
    pool = RequestPool(2, timeout_sec=1.0)
    pool.add(1, "a")
    pool.add(1, "b")
    pool.add(2, "c")
    assert (pool.num_free(1), pool.num_free(2), len(pool)) == (0, 1, 3)
    with pytest.raises(ValueError, match="`owner` 1 may hold 2 requests, got 3"):
        pool.add(1, "d")
    assert pool.finish("a") == 1
    assert pool.num_free(1) == 1


def test_pool_overdue_counts_silence_not_age():
    """An owner that answers keeps its later requests from being overdue; a silent one does not."""
    now = [0.0]
    pool = RequestPool(2, timeout_sec=10.0, clock=lambda: now[0])
    for owner, request in ((1, "a"), (1, "b"), (2, "c")):
        pool.add(owner, request)
    now[0] = 9.0
    pool.finish("a")
    now[0] = 12.0
    assert pool.overdue() == [2]
    assert "2: 1 requests, silent for 12.0 s" in pool.describe()
    pool.forget(2)
    assert pool.overdue() == []
    assert pool.requests == ["b"]
    assert (pool.num_free(1), pool.num_free(2)) == (1, 2)


def test_pool_clock_of_an_idle_owner_starts_with_its_next_request():
    """Time without requests does not count as silence."""
    now = [0.0]
    pool = RequestPool(1, timeout_sec=10.0, clock=lambda: now[0])
    pool.add(1, "a")
    pool.finish("a")
    now[0] = 100.0
    pool.add(1, "b")
    assert pool.overdue() == []
