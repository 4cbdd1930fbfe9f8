"""Alarms compare a row with the one before."""

import pytest

from distill_rl.cli.alarms import AlarmLimits, Alarms

_QUIET = {
    "dropped": 3,
    "restarts": 1,
    "skipped_updates": 2,
    "policy_lag_updates_mean": 10.0,
    "checkpoint_age_sec": 50,
}


def _alarms():
    alarms = Alarms(AlarmLimits(max_policy_lag=100, checkpoint_interval_sec=60))
    alarms.check(_QUIET)
    return alarms


def test_what_happened_before_a_resume_raises_nothing():
    """Counters go on over resumes; the first row is the measure."""
    raised, lines = Alarms(AlarmLimits(100, 60)).check(_QUIET)
    assert set(raised.values()) == {0}
    assert sorted(raised) == [
        f"alarm/{n}"
        for n in ("checkpoint_age", "drops", "edge", "lag", "lost_rows", "non_finite", "restarts")
    ]
    assert lines == []


@pytest.mark.parametrize(
    ("change", "name", "line"),
    [
        ({"dropped": 4}, "drops", "drops: dropped rose from 3 to 4"),
        ({"lost": 1}, "drops", "drops: lost rose from 0 to 1"),
        ({"learner_restarts": 1}, "restarts", "restarts: learner restarts rose from 0 to 1"),
        ({"skipped_updates": 5}, "non_finite", "non finite: skipped updates rose from 2 to 5"),
        ({"unpublished": 1}, "non_finite", "non finite: unpublished rose from 0 to 1"),
        ({"lost_rows": 1}, "lost_rows", "lost rows: lost rows rose from 0 to 1"),
        ({"stream_missing": 2}, "edge", "edge: stream missing rose from 0 to 2"),
        ({"stream_dead_letters": 1}, "edge", "edge: stream dead letters rose from 0 to 1"),
        ({"publication_outages": 1}, "edge", "edge: publication outages rose from 0 to 1"),
        (
            {"policy_lag_updates_mean": 51.0},
            "lag",
            "lag: reference sets are 51 updates old on average; at 100 they are dropped",
        ),
        (
            {"checkpoint_age_sec": 181.0},
            "checkpoint_age",
            "checkpoint age: no checkpoint for 181 s, expected every 60 s",
        ),
    ],
)
def test_a_change_raises_its_alarm_alone(change, name, line):
    """With a line that says what was seen."""
    raised, lines = _alarms().check(_QUIET | change)
    assert {key for key, value in raised.items() if value} == {f"alarm/{name}"}
    assert lines == [line]


def test_an_alarm_that_stays_is_told_once():
    """And again after it was over."""
    alarms = _alarms()
    old = _QUIET | {"checkpoint_age_sec": 200.0}
    assert len(alarms.check(old)[1]) == 1
    raised, lines = alarms.check(old)
    assert raised["alarm/checkpoint_age"] == 1 and lines == []
    assert alarms.check(_QUIET)[0]["alarm/checkpoint_age"] == 0
    assert len(alarms.check(old)[1]) == 1


def test_unknown_values_raise_nothing():
    """A run without actors has no lag; NaN compares with nothing."""
    alarms = Alarms(AlarmLimits(None, 60))
    alarms.check({})
    assert alarms.check({"policy_lag_updates_mean": float("nan")})[1] == []
