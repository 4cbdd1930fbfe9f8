"""A run waits for its machines: says so, stops when it is asked to, and does not wait for ever."""

import os
import signal
import threading

import pytest
import ray

from distill_rl.cli import room
from distill_rl.cli.failure import TrainingError
from distill_rl.cli.room import wait_for_room
from distill_rl.cli.stop_request import StopRequest

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

_NEEDED = [{"CPU": 1, "nowhere": 1}] * 2 + [{"CPU": 1}, {"CPU": 0.5, "moon": 1}]
_LINE = (
    "waiting for 2 x {CPU: 1, nowhere: 1}, 1 x {CPU: 0.5, moon: 1}; "
    "the cluster has {CPU: 8, nowhere: 0, moon: 0}"
)


@pytest.fixture(autouse=True)
def _told_soon(monkeypatch):
    monkeypatch.setattr(room, "_TELL_AFTER_SEC", 0.0)


def _wait(needed, timeout_sec=60.0):
    notes = []
    with StopRequest() as stop:
        return wait_for_room(needed, timeout_sec, stop, notes.append), notes


@pytest.mark.parametrize("needed", [[], [{"CPU": 1}, {"CPU": 0.5}]])
def test_what_fits_starts_at_once_and_is_free_for_it(needed):
    """Nothing stays taken."""
    assert _wait(needed)[0]
    assert _wait([{"CPU": 8}])[0]


def test_a_cluster_without_the_machines_is_given_up(monkeypatch):
    """With what is missing, which was also told meanwhile."""
    monkeypatch.setattr(room, "_TELL_INTERVAL_SEC", 0.0)
    with StopRequest() as stop, pytest.raises(TrainingError) as raised:
        wait_for_room(_NEEDED, 1.5, stop, (notes := []).append)
    assert str(raised.value) == f"no machine has joined for 1.5 s: {_LINE}"
    assert set(notes) == {_LINE} and len(notes) > 1


def test_the_first_signal_ends_the_waiting():
    """Soon."""
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert _wait(_NEEDED) == (False, [_LINE])
    timer.join()


def test_machines_that_others_use_are_waited_for_as_long_as_it_takes():
    """And started on when they are free."""
    holder = ray.remote(num_cpus=8)(type("Holder", (), {"ping": lambda self: None})).remote()
    ray.get(holder.ping.remote())
    timer = threading.Timer(3.0, ray.kill, (holder,))
    timer.start()
    assert _wait([{"CPU": 2}], timeout_sec=0.1) == (
        True,
        ["waiting for 1 x {CPU: 2}; the cluster has {CPU: 0} free"],
    )
    timer.join()
