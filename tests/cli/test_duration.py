"""Durations, read and written."""

import pytest

from distill_rl.cli.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172_800), ("1.5h", 5400), (" 20S ", 20)],
)
def test_parse_duration(text, seconds):
    """Hand-worked values."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "15 m", "15x", "-3s", "0", "0m", "1h30"])
def test_parse_duration_refuses_what_is_none(text):
    """The message shows the form and what came."""
    with pytest.raises(ValueError, match="must be a positive duration such as 90, 15m or 1h30m, got"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(4.9, "4s"), (125, "2m05s"), (11_220, "3h07m"), (0, "0s")])
def test_format_duration(seconds, text):
    """Hand-worked values."""
    assert format_duration(seconds) == text
