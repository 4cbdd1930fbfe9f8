"""Signals that are noted, failures that are told."""

import os
import signal

import pytest
from ray.exceptions import RayTaskError

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


def test_a_failure_whose_log_cannot_be_written_is_told_all_the_same(tmp_path):
    """With its trace, which is nowhere else."""

    def step():
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError) as raised:
        supervised(step, tmp_path / "gone")
    lines = str(raised.value).splitlines()
    assert lines[0] == "training failed: OSError: [Errno 28] No space left on device"
    assert lines[1].startswith("full trace, since failure.log cannot be written ([Errno 2] ")
    assert any("in step" in line for line in lines)
    assert lines[-1] == f"to resume: {resume_command(tmp_path / 'gone')}"


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


def test_a_mistake_that_a_learner_elsewhere_tells_is_told_alone(tmp_path):
    """Ray's message is the trace on the other side, with the mistake at its end."""

    def step():
        raise RayTaskError(
            "update", "trace of another process", ValueError("`loss` must be finite")
        ).as_instanceof_cause()

    with pytest.raises(ValueError, match=r"^`loss` must be finite$"):
        supervised(step, tmp_path)
    assert list(tmp_path.iterdir()) == []
