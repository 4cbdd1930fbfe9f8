"""The supervisor of the driver: what counts as a death, and how it goes on."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from distill_rl.cli.arguments import TrainArguments
from distill_rl.cli.driver_supervisor import DriverSupervisor, command_line
from distill_rl.storage.checkpoints import CheckpointStore
from distill_rl.storage.metrics import MetricsWriter
from distill_rl.storage.run_folder import RunFolder

_ARGUMENTS = TrainArguments("cheetah_run", ("search.num_candidates=8",), seed=3)


class Drivers:
    """Starts drivers that end at once, with the given exit codes in order.

    From the one numbered `begins_at` on they write their configuration; before some ends they save, or log a
    row of metrics.
    """

    def __init__(self, folder, exit_codes, save_before=(), begins_at=1, log_before=()):
        self.commands = []
        self._run = RunFolder(folder)
        self._exit_codes = list(exit_codes)
        self._save_before = save_before
        self._begins_at = begins_at
        self._log_before = log_before

    def __call__(self, arguments):
        self.commands.append(list(arguments))
        return self

    def wait(self, timeout=None):
        number = len(self.commands)
        if number >= self._begins_at:
            self._run.write_config("")
        if number in self._save_before:
            CheckpointStore(self._run.checkpoints_folder).save(number, lambda folder: None, {})
        if number in self._log_before:
            MetricsWriter(self._run.metrics_path, self._run.tensorboard_folder, number).log({}, number)
        return self._exit_codes.pop(0)

    def poll(self):
        return None


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Notes how long it would have waited."""
    delays = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: delays.append(timeout))
    return delays


def _run(folder, drivers, max_restarts=5, arguments=_ARGUMENTS):
    notes = []
    return DriverSupervisor(folder, max_restarts, 0.0, notes.append, drivers).run(arguments), notes


def test_a_killed_driver_resumes_from_its_checkpoint(tmp_path):
    """Before there is one it starts anew."""
    drivers = Drivers(tmp_path, [-signal.SIGKILL, -signal.SIGKILL, 0], save_before=[2])
    exit_code, notes = _run(tmp_path, drivers)
    assert exit_code == 0
    first = ["train", "cheetah_run", "search.num_candidates=8", "--size", "laptop", "--seed", "3"]
    assert drivers.commands == [
        first,
        [*first, "--overwrite"],
        ["train", "--resume", "--out", str(tmp_path)],
    ]
    assert notes[0].startswith("the driver died (signal 9), and is started again in")


def test_a_run_from_before_is_not_taken_for_its_own(tmp_path):
    """A driver that dies before it has begun is started as it was: nothing is resumed or removed unasked."""
    run = RunFolder(tmp_path)
    run.write_config("former: {}")
    CheckpointStore(run.checkpoints_folder).save(7, lambda folder: None, {})
    drivers = Drivers(tmp_path, [-signal.SIGKILL, -signal.SIGKILL, 0], begins_at=2)
    assert _run(tmp_path, drivers)[0] == 0
    assert drivers.commands[1] == drivers.commands[0]
    assert drivers.commands[2] == ["train", "--resume", "--out", str(tmp_path)]


@pytest.mark.parametrize("exit_code", [0, 2, 130, 143])
def test_what_the_user_did_is_no_death(tmp_path, exit_code):
    """Success, a mistake, and a signal after which the run was saved."""
    drivers = Drivers(tmp_path, [exit_code])
    assert _run(tmp_path, drivers) == (exit_code, [])


def test_a_mistake_after_an_iteration_is_a_failure(tmp_path):
    """A library raises a ValueError too when its learner has died; rows of an earlier driver do not count."""
    drivers = Drivers(tmp_path, [2, 2], save_before=[1], log_before=[1])
    assert _run(tmp_path, drivers)[0] == 2
    assert drivers.commands[1:] == [["train", "--resume", "--out", str(tmp_path)]]


def test_a_stuck_driver_is_killed_and_started_again(tmp_path):
    """One that shows progress is waited for."""

    class Stuck(Drivers):
        num_polls = 0

        def wait(self, timeout=None):
            if len(self.commands) == 1 and timeout is not None:
                self.num_polls += 1
                if self.num_polls < 4:
                    MetricsWriter(tmp_path / "metrics.jsonl", tmp_path / "events").log({}, self.num_polls)
                raise subprocess.TimeoutExpired("train", timeout)
            return super().wait(timeout)

        def kill(self):
            self.killed_after = self.num_polls

    drivers = Stuck(tmp_path, [-signal.SIGKILL, 0], save_before=[1])
    exit_code, notes = _run(tmp_path, drivers)
    assert exit_code == 0
    assert drivers.killed_after == 4
    assert notes[0] == "no progress for 0 s; the driver is killed"
    assert drivers.commands[1:] == [["train", "--resume", "--out", str(tmp_path)]]


def test_it_gives_up_in_the_end(tmp_path):
    """With the last exit code."""
    drivers = Drivers(tmp_path, [1, 1, 1])
    exit_code, notes = _run(tmp_path, drivers, max_restarts=2)
    assert exit_code == 1
    assert len(drivers.commands) == 3
    assert notes[-1] == "the driver died (exit code 1), and is given up after 2 restarts"


def test_it_waits_longer_until_the_run_gets_somewhere(tmp_path, no_waiting):
    """A cluster that comes back late is not asked every second; a new checkpoint starts the waiting anew."""
    drivers = Drivers(tmp_path, [1] * 9 + [0], save_before=[9])
    _run(tmp_path, drivers, max_restarts=9)
    assert no_waiting == [2, 4, 8, 16, 32, 60, 60, 60, 1]


def test_a_signal_reaches_the_driver_and_ends_the_watch(tmp_path):
    """Even if the driver dies of it."""

    class Interrupted(Drivers):
        def wait(self, timeout=None):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().wait(timeout)

        def send_signal(self, number):
            self.received = number

    drivers = Interrupted(tmp_path, [-signal.SIGTERM])
    exit_code, _ = _run(tmp_path, drivers)
    assert drivers.received == signal.SIGTERM
    assert exit_code == 128 + signal.SIGTERM
    assert len(drivers.commands) == 1


def test_a_signal_between_two_drivers_ends_the_watch(tmp_path, monkeypatch):
    """Nobody is started who would not have heard it."""

    def wait(event, timeout=None):
        os.kill(os.getpid(), signal.SIGINT)
        return event.is_set()

    drivers = Drivers(tmp_path, [1, 0])
    drivers.poll = lambda: 1
    monkeypatch.setattr(threading.Event, "wait", wait)
    assert _run(tmp_path, drivers)[0] == 128 + signal.SIGINT
    assert len(drivers.commands) == 1


def test_a_signal_while_a_driver_starts_reaches_it(tmp_path):
    """Once, as soon as it is there."""

    class Interrupting(Drivers):
        received = ()

        def __call__(self, arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().__call__(arguments)

        def send_signal(self, number):
            self.received = (*self.received, number)

    drivers = Interrupting(tmp_path, [143])
    assert _run(tmp_path, drivers)[0] == 143
    assert drivers.received == (signal.SIGTERM,)


def test_the_command_line_is_the_one_typed():
    """With every argument."""
    arguments = TrainArguments(None, ("run.max_updates=1",), Path("a b"), "cluster", "15m", 0, resume=True)
    assert command_line(arguments, overwrite=True) == [
        *("train", "run.max_updates=1", "--out", "a b", "--size", "cluster", "--time-limit", "15m"),
        *("--seed", "0", "--resume", "--overwrite"),
    ]
