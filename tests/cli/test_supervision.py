"""Signals that are noted, failures that are told."""

import os
import signal

import pytest

from distill_rl.cli.failure import TrainingError, resume_command, supervised
from distill_rl.cli.stop_request import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_interrupts(number):
    """Once asks, twice insists."""
    with StopRequest() as stop:
        assert stop.signal_number is None
        os.kill(os.getpid(), number)
        assert stop.signal_number == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_former_handlers_come_back():
    """After the block the process reacts as before."""
    before = signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_install_takes_the_signals_back_from_a_library():
    """Ray sets its own handler of SIGTERM while it starts."""
    with StopRequest() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop.install()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_a_failure_names_the_part_the_log_and_the_way_on(tmp_path):
    """The message of the part comes first; the trace is in the log."""

    def step():
        raise TimeoutError("no answer for 300 s from 2 learners\nmore")

    with pytest.raises(TrainingError) as raised:
        supervised(step, tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[0] == "training failed: TimeoutError: no answer for 300 s from 2 learners"
    assert lines[1] == f"full trace: {tmp_path / 'failure.log'}"
    assert lines[2] == f"to resume: {resume_command(tmp_path)}"
    assert "in step" in (tmp_path / "failure.log").read_text()


def test_a_mistake_of_the_caller_stays_a_value_error(tmp_path):
    """It needs no trace."""

    def step():
        raise ValueError("`env` must be known")

    with pytest.raises(ValueError, match="`env` must be known"):
        supervised(step, tmp_path)
    assert not (tmp_path / "failure.log").exists()


def test_resume_command_quotes_the_folder():
    """It can be pasted into a shell."""
    assert resume_command("my runs/a") == "distill-rl train --resume --out 'my runs/a'"
