"""The line of progress: one live line on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from distill_rl.cli.duration import format_duration

_PLAIN_INTERVAL_SEC = 10.0

_NumberFn = Callable[[str], float | None]
"""Name of a metric to its value; None for one that is missing or not finite."""


def format_line(metrics: Mapping[str, Any]) -> str:
    """Writes metrics as one line.

    Args:
      metrics: a row of metrics, see `distill_rl.cli.metrics`; what is missing or not finite shows as `-`.

    Returns:
      Elapsed time, returns, rates, policy version and lag, queue fill, drops, restarts and the age of the
      last checkpoint, in this order, since a narrow terminal cuts the end. Without actors: elapsed time,
      updates, their rate, losses and the age of the checkpoint. With PPO: elapsed time, return, environment
      steps, rates, how far the policy moved and the age of the checkpoint.
    """
    number = {name: _known(value) for name, value in metrics.items()}.get
    if "epochs" in metrics:
        losses = [name for name in metrics if name.startswith("learner/") and name.endswith("_loss")]
        parts = _offline_parts(number, losses)
    elif "learner/clip_fraction" in metrics:
        parts = _ppo_parts(number)
    else:
        parts = _search_parts(number)
    elapsed, age = number("elapsed_sec"), number("checkpoint_age_sec")
    saved = f"saved {'never' if age is None else format_duration(age) + ' ago'}"
    return " | ".join(["-" if elapsed is None else format_duration(elapsed), *parts, saved])


def _offline_parts(number: _NumberFn, losses: Sequence[str]) -> list[str]:
    return [
        f"updates {_short(number('updates'), integer=True)}",
        f"{_short(number('updates_per_sec'))}/s",
        f"epochs {_short(number('epochs'))}",
        *(f"{_loss_name(name)} {_loss(number(name))}" for name in losses),
        f"skipped {_short(number('skipped_updates'), integer=True)}",
    ]


def _ppo_parts(number: _NumberFn) -> list[str]:
    return [
        f"return {_short(number('student_return'))}",
        f"steps {_short(number('env_steps'), integer=True)}",
        f"env {_short(number('env_steps_per_sec'))}/s",
        f"updates {_short(number('updates_per_sec'))}/s",
        f"kl {_loss(number('learner/kl'))}",
        f"clipped {_share(number('learner/clip_fraction'))}",
        f"ess {_share(number('learner/effective_sample_size'))}",
    ]


def _search_parts(number: _NumberFn) -> list[str]:
    ratio = number("student_search_ratio")
    return [
        f"student {_short(number('student_return'))} search {_short(number('search_return'))}"
        + (f" ({_share(ratio)})" if ratio is not None else ""),
        f"env {_short(number('env_steps_per_sec'))}/s",
        f"sim {_short(number('simulator_steps_per_sec'))}/s",
        f"sets {_short(number('reference_sets_per_sec'))}/s",
        f"updates {_short(number('updates_per_sec'))}/s",
        f"policy v{_short(number('policy_version'), integer=True)} lag {_short(number('policy_lag_mean'))}",
        f"queue {_share(number('queue_fill'))}",
        f"drops {_short(number('dropped'), integer=True)}",
        f"restarts {_short(number('restarts'), integer=True)}",
    ]


class ProgressLine:
    """Shows the newest metrics, in place on a terminal, as a line every ten seconds elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        """Prepares the line; `with` shows it.

        Args:
          console: where to write.
          clock: seconds, for the interval of plain lines.
        """
        self._console = console
        self._clock = clock
        self._last_line_sec = -math.inf
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "ProgressLine":
        """Starts the live line."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last line on the screen."""
        if self._live:
            self._live.stop()

    def update(self, metrics: Mapping[str, Any]) -> None:
        """Shows a row of metrics."""
        line = Text(format_line(metrics), no_wrap=True, overflow="ellipsis")
        if self._live:
            self._live.update(line, refresh=True)
        elif self._clock() - self._last_line_sec >= _PLAIN_INTERVAL_SEC:
            self._last_line_sec = self._clock()
            self._console.print(line.plain, soft_wrap=True, highlight=False, markup=False)

    def note(self, message: str) -> None:
        """Prints a lasting line above the progress."""
        self._console.print(message, soft_wrap=True, highlight=False, markup=False)


def _loss_name(name: str) -> str:
    return name.removeprefix("learner/").replace("_", " ")


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _known(value: Any) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _short(value: float | None, integer: bool = False) -> str:
    """Writes a number in few characters: `3.1`, `417`, `12.3k`, `4.5M`."""
    if value is None:
        return "-"
    for unit, size, least in (("M", 1e6, 1e6), ("k", 1e3, 1e4)):
        if abs(value) >= least:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}" if integer or abs(value) >= 100 else f"{value:.1f}"
