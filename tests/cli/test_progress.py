"""The line of progress."""

import io

from rich.console import Console

from distill_rl.cli.progress import ProgressLine, format_line

_METRICS = {
    "elapsed_sec": 125.0,
    "student_return": 368.4,
    "search_return": 417.0,
    "student_search_ratio": 368.4 / 417.0,
    "env_steps_per_sec": 210.4,
    "simulator_steps_per_sec": 98_123.0,
    "reference_sets_per_sec": 209.6,
    "updates_per_sec": 12.34,
    "policy_version": 4321,
    "policy_lag_mean": 3.21,
    "queue_fill": 0.125,
    "dropped": 2,
    "restarts": 1,
    "checkpoint_age_sec": 42.0,
}


def _lines(is_terminal, updates, clock):
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=400)
    with ProgressLine(console, clock) as progress:
        for metrics in updates:
            progress.update(metrics)
        progress.note("stopped")
    return output.getvalue()


def test_format_line_of_ppo_says_how_far_the_policy_moved():
    """Hand-worked line; there is no search to tell of."""
    metrics = {
        "elapsed_sec": 5.0,
        "student_return": 12.34,
        "env_steps": 20_480,
        "env_steps_per_sec": 1_500.0,
        "updates_per_sec": 70.0,
        "learner/kl": 0.0123,
        "learner/clip_fraction": 0.25,
        "learner/effective_sample_size": 0.9,
    }
    assert format_line(metrics) == (
        "5s | return 12.3 | steps 20.5k | env 1500/s | updates 70.0/s | kl 0.0123 | clipped 25% | ess 90% | "
        "saved never"
    )


def test_format_line_shows_every_metric():
    """Hand-worked line."""
    assert format_line(_METRICS) == (
        "2m05s | student 368 search 417 (88%) | env 210/s | sim 98.1k/s | sets 210/s | updates 12.3/s | "
        "policy v4321 lag 3.2 | queue 12% | drops 2 | restarts 1 | saved 42s ago"
    )


def test_format_line_of_what_is_not_known_yet():
    """Before the first episode ends there are no returns; NaN and None show as a dash."""
    line = format_line({"elapsed_sec": 1.0, "student_return": float("nan"), "search_return": None})
    assert line.startswith("1s | student - search - | env -/s")
    assert line.endswith("saved never")


def test_format_line_without_actors_shows_updates_and_losses():
    """Hand-worked line: losses in their order, small and large ones, one that is not known."""
    metrics = {
        "elapsed_sec": 125.0,
        "updates": 1_234_567,
        "updates_per_sec": 98.76,
        "epochs": 3.14,
        "skipped_updates": 2,
        "learner/behaviour_loss": 0.012345,
        "learner/q_loss": -1.0,
        "learner/critic_loss": 12345.6,
        "learner/policy_loss": float("nan"),
        "learner/q_value": 3.0,
        "evaluation/student_return": 5.0,
    }
    assert format_line(metrics) == (
        "2m05s | updates 1.2M | 98.8/s | epochs 3.1 | behaviour loss 0.0123 | q loss -1 | "
        "critic loss 1.23e+04 | policy loss - | skipped 2 | saved never"
    )
    assert format_line({"epochs": 0.0}) == ("- | updates - | -/s | epochs 0.0 | skipped - | saved never")


def test_plain_lines_come_every_ten_seconds():
    """A log file is not flooded: updates at 0, 4, 8, 12 s give the lines of 0 and 12 s."""
    seconds = iter([0.0, 0.0, 4.0, 8.0, 12.0, 12.0])
    updates = [{"elapsed_sec": t} for t in (0.0, 4.0, 8.0, 12.0)]
    lines = _lines(False, updates, lambda: next(seconds)).splitlines()
    assert [line.split(" |")[0] for line in lines] == ["0s", "12s", "stopped"]
    assert all("\x1b" not in line for line in lines)


def test_a_terminal_gets_one_line_in_place():
    """Each update rewrites the line, and the newest one stays."""
    output = _lines(True, [{"elapsed_sec": t} for t in (1.0, 2.0)], lambda: 0.0)
    assert "\x1b[2K" in output
    assert output.rindex("2s | student") > output.rindex("1s | student")
