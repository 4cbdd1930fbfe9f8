"""Durations as people write them: `15m`, `1h30m`, `90`."""

import re

_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def parse_duration(text: str) -> float:
    """Reads a duration.

    Args:
      text: parts of a number and one of `d h m s`, such as `1h30m`; a bare number is seconds.

    Returns:
      Seconds, positive.

    Raises:
      ValueError: if the text is none, or the duration is zero.
    """
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        text += "s"
    parts = _PART.findall(text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise ValueError(f"`time-limit` must be a positive duration such as 90, 15m or 1h30m, got {text!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """Writes a duration for a line of progress: `4s`, `2m05s`, `3h07m`."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"
