"""From results to rows, and from rows to a summary."""

import math

import pytest

from distill_rl.cli.metrics import collect_metrics, student_search_ratio, summarise


def test_collect_flattens_and_keeps_numbers_only():
    """The loop keeps its names; learner and evaluation are prefixed; strings, flags and gaps are left out."""
    result = {
        "loop": {"env_steps": 128, "search_return": math.nan},
        "learners": {
            "default_policy": {"policy_loss": 0.5, "name": "x", "flag": True},
            "__all_modules__": {"a": 1},
        },
        "evaluation": {
            "env_runners": {"episode_return_mean": 3.0},
            "search_policy": {"episode_return_mean": 4.0},
        },
    }
    metrics = collect_metrics(result)
    assert math.isnan(metrics.pop("search_return"))
    assert metrics == {
        "env_steps": 128,
        "learner/policy_loss": 0.5,
        "evaluation/student_return": 3.0,
        "evaluation/search_return": 4.0,
    }


def test_collect_before_the_first_update():
    """The learner reports nothing yet."""
    assert collect_metrics({"loop": {"env_steps": 1}}) == {"env_steps": 1}


def test_summary_takes_totals_from_the_last_row_and_averages_the_lag():
    """Rows without a lag do not count."""
    rows = [
        {"env_steps": 10, "policy_lag_mean": None, "elapsed_sec": 1.0},
        {"env_steps": 20, "policy_lag_mean": 2.0, "elapsed_sec": 2.0},
        {"env_steps": 30, "policy_lag_mean": 4.0, "elapsed_sec": 3.0, "student_return": 7.0, "dropped": 5},
    ]
    summary = summarise(rows)
    assert (summary["env_steps"], summary["wall_seconds"], summary["dropped"]) == (30, 3.0, 5)
    assert (summary["policy_lag_mean"], summary["student_return"], summary["search_return"]) == (
        3.0,
        7.0,
        None,
    )
    assert summary["iterations"] == 3


def test_summary_says_null_where_nothing_counts():
    """PPO has no fragments to drop, and its runners are not watched: 0 would be a claim."""
    summary = summarise([{"env_steps": 10, "skipped_updates": 2}])
    assert (summary["policy_lag_mean"], summary["dropped"], summary["restarts"]) == (None, None, None)
    assert summary["skipped_updates"] == 2


def test_summary_of_nothing():
    """A run without an iteration has one too."""
    assert summarise([])["env_steps"] == 0


@pytest.mark.parametrize(
    ("student", "search", "ratio"),
    [(3.0, 4.0, 0.75), (None, 4.0, None), (3.0, None, None), (3.0, -4.0, None)],
)
def test_ratio_is_known_only_for_a_positive_search(student, search, ratio):
    """A share of a negative return means nothing."""
    assert student_search_ratio({"student_return": student, "search_return": search}) == ratio
