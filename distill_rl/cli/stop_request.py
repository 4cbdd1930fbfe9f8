"""Ctrl-C and SIGTERM, noted rather than obeyed at once, so that a run can save first."""

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Those that ask a command to stop."""

SIGNAL_EXIT_BASE = 128
"""A command that signal N stopped exits with this plus N, as shells do: 130 for Ctrl-C."""


class StopRequest:
    """Notes the first signal; the second one interrupts as it would without this.

    Attributes:
      signal_number: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Takes the signals over."""
        self._former = {number: signal.getsignal(number) for number in SIGNALS}
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the signals back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Takes the signals over again, after a library (`ray.init`) has set handlers of its own."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
