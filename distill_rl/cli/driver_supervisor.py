"""Who looks after the driver: starts it again, in a new process, when it dies or gets stuck."""

import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from distill_rl.cli.arguments import TrainArguments
from distill_rl.cli.stop_request import SIGNAL_EXIT_BASE, SIGNALS
from distill_rl.storage.checkpoints import CheckpointStore
from distill_rl.storage.metrics import read_metrics
from distill_rl.storage.run_folder import RunFolder

_MISTAKE = 2
_STOPPED = tuple(SIGNAL_EXIT_BASE + number for number in SIGNALS)
_MAX_DELAY_SEC = 60.0
_POLL_SEC = 1.0

Start = Callable[[Sequence[str]], subprocess.Popen]


def command_line(arguments: TrainArguments, overwrite: bool = False) -> list[str]:
    """Writes arguments of `distill-rl train` as they were typed."""
    words = ["train", *([arguments.preset] if arguments.preset else []), *arguments.overrides]
    options = {"--out": arguments.out, "--size": arguments.size, "--time-limit": arguments.time_limit}
    for name, value in (options | {"--seed": arguments.seed}).items():
        words += [] if value is None else [name, str(value)]
    words += ["--resume"] if arguments.resume else []
    return words + (["--overwrite"] if overwrite else [])


class DriverSupervisor:
    """Runs a training in a process of its own, and goes on from its newest checkpoint when that process dies.

    What the user did, a mistake or a signal, is no death: those ends are passed on. A mistake shows before
    the first iteration; what a driver calls one after that is a failure of a part. A driver whose file of
    metrics keeps its time for too long is stuck, and killed. Between two starts it waits, longer each time,
    for the cluster to come back. A driver that dies before it has written its configuration is started again
    as it was: a run that lay in the folder before is not its own.
    """

    def __init__(
        self,
        folder: Path,
        max_restarts: int,
        progress_timeout_sec: float,
        note: Callable[[str], None],
        start: Start | None = None,
    ) -> None:
        """Looks after one run.

        Args:
          folder: the run folder.
          max_restarts: restarts before the run is given up.
          progress_timeout_sec: a driver that shows nothing for longer is stuck.
          note: told of each death, in one line.
          start: starts a process with the arguments of `distill-rl`; for tests.
        """
        self._run_folder = RunFolder(folder)
        self._store = CheckpointStore(self._run_folder.checkpoints_folder)
        self._max_restarts = max_restarts
        self._progress_timeout_sec = progress_timeout_sec
        self._note = note
        self._start = start or _start
        self._process: subprocess.Popen | None = None
        self._is_stopped = threading.Event()
        self._undelivered: list[int] = []  # signals

    def run(self, arguments: TrainArguments, overwrite: bool = False) -> int:
        """Runs to the end, and returns the exit code of the last process, 128 + N after signal N.

        Args:
          arguments: of the first start.
          overwrite: whether that may remove a run that is there.
        """
        former = {number: signal.signal(number, self._forward) for number in SIGNALS}
        try:
            return self._run(command_line(arguments, overwrite), command_line(arguments, overwrite=True))
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _run(self, command: list[str], anew: list[str]) -> int:
        delay_sec, checkpoint, found = 1.0, None, _identity(self._run_folder.config_path)
        for num_restarts in range(self._max_restarts + 1):
            newest_row_sec = self._newest_row_sec()
            self._process = self._start(command)
            self._deliver()
            exit_code = self._wait(self._process)
            is_mistake = exit_code == _MISTAKE and self._newest_row_sec() <= newest_row_sec
            if exit_code in (0, *_STOPPED) or is_mistake or self._is_stopped.is_set():
                break
            how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
            if num_restarts == self._max_restarts:
                self._note(f"the driver died ({how}), and is given up after {num_restarts} restarts")
                break
            latest = self._store.latest()
            delay_sec = min(2.0 * delay_sec, _MAX_DELAY_SEC) if latest == checkpoint else 1.0
            checkpoint = latest
            self._note(f"the driver died ({how}), and is started again in {delay_sec:.0f} s")
            if self._is_stopped.wait(delay_sec):
                return SIGNAL_EXIT_BASE + self._undelivered[0]
            if _identity(self._run_folder.config_path) != found:
                command = ["train", "--resume", "--out", str(self._run_folder.path)] if latest else anew
        return exit_code if exit_code >= 0 else SIGNAL_EXIT_BASE - exit_code

    def _wait(self, process: subprocess.Popen) -> int:
        """Waits for the end of a driver, which is its own or that of its patience; returns the exit code."""
        seen, seen_sec = _identity(self._run_folder.metrics_path), time.monotonic()
        while True:
            try:
                return process.wait(_POLL_SEC)
            except subprocess.TimeoutExpired:
                found = _identity(self._run_folder.metrics_path)
            if found != seen:
                seen, seen_sec = found, time.monotonic()
            elif time.monotonic() - seen_sec > self._progress_timeout_sec:
                self._note(f"no progress for {self._progress_timeout_sec:.0f} s; the driver is killed")
                process.kill()
                return process.wait()

    def _newest_row_sec(self) -> float:
        """Returns the Unix time of the newest row of metrics."""
        rows = read_metrics(self._run_folder.metrics_path)
        return rows[-1]["time"] if rows else -math.inf

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._undelivered.append(number)
        self._is_stopped.set()
        self._deliver()

    def _deliver(self) -> None:
        """Sends the driver the signals that came for it, also those from before it was there."""
        while self._undelivered and self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._undelivered.pop(0))


def _identity(path: Path) -> tuple[int, int] | None:
    """Returns what tells one content of a file from the next; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _start(arguments: Sequence[str]) -> subprocess.Popen:
    """Starts `distill-rl` in a session of its own: Ctrl-C reaches it once, through the supervisor."""
    command = [sys.executable, "-m", "distill_rl.cli.main", *arguments]
    return subprocess.Popen(command, start_new_session=True)
