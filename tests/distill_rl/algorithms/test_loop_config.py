import dataclasses

import pytest

from distill_rl.algorithms.loop_config import LoopConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"updates_per_step": 0.0}, "`updates_per_step` must be positive, got 0"),
        ({"request_timeout_sec": float("inf")}, "`request_timeout_sec` must be positive, got inf"),
        ({"updates_per_call": 0}, "`updates_per_call` must be an integer of at least 1, got 0"),
        ({"publish_interval_updates": 0.5}, "`publish_interval_updates` must be an integer of at least 1"),
        ({"max_requests_in_flight": 0}, "`max_requests_in_flight` must be an integer of at least 1, got 0"),
        ({"max_queued_fragments": 0}, "`max_queued_fragments` must be an integer of at least 1, got 0"),
        ({"max_policy_lag": 0}, "`max_policy_lag` must be an integer of at least 1, got 0"),
        ({"learning_starts": -1}, "`learning_starts` must not be negative, got -1"),
        ({"num_search_evaluation_episodes": -1}, "`num_search_evaluation_episodes` must not be negative"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    """The message names the field, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        LoopConfig(**options)


def test_bounds_may_be_left_out():
    """No limit on the age of a set, and a queue that follows the requests; every set at once."""
    config = LoopConfig(max_policy_lag=None, max_queued_fragments=None, learning_starts=0)
    assert dataclasses.asdict(config)["max_policy_lag"] is None
