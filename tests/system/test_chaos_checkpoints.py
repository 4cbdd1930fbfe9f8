"""Checkpoints that are written while the process is killed, the disk full or the files damaged."""

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest
from chaos_run import ChaosRun

from distill_rl.policies.loading import load_policy
from distill_rl.storage.checkpoints import CheckpointStore, find_problems

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

_NUM_KILLS = 50
_DISK_BYTES = 20_000_000

_WRITER = """
import sys, time
from pathlib import Path
import numpy as np
import safetensors.numpy
from distill_rl.storage.checkpoints import CheckpointStore

store = CheckpointStore(sys.argv[1])
found = store.recover()
step = 0 if found is None else found.step
print("ready", flush=True)
while True:
    step += 1

    def save(folder):
        weights = {str(n): np.full(200_000, step, np.float32) for n in range(4)}
        safetensors.numpy.save_file(weights, folder / "weights.safetensors")
        np.save(folder / "replay.npy", np.full(200_000, step))

    store.save(step, save, {"updates": step})
"""


def test_killed_50_times_while_it_saves(tmp_path):
    """A writer that does nothing but save is killed at any moment: each start finds a valid checkpoint."""
    generator = random.Random(0)
    last_step, num_leftovers = 0, 0
    CheckpointStore(tmp_path).save(last_step, lambda folder: None, {"updates": last_step})
    for _ in range(_NUM_KILLS):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, tmp_path], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(generator.uniform(0.0, 0.3))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        num_leftovers += any(".tmp-" in path.name for path in tmp_path.iterdir())
        checkpoint = CheckpointStore(tmp_path).recover()
        assert checkpoint is not None
        assert find_problems(checkpoint.path) == []
        assert checkpoint.metadata == {"updates": checkpoint.step}
        assert checkpoint.step >= last_step
        last_step = checkpoint.step
    assert last_step > 0
    assert num_leftovers > _NUM_KILLS / 2  # most kills hit a save
    assert not list(tmp_path.glob("*.corrupted"))


@contextlib.contextmanager
def _small_disk(folder):
    """Mounts a small file system; skips where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(path):
    """Writes a file until there is no more room."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


_ONE_PROCESS = [
    *("env_runners.num_env_runners=0", "run.checkpoint_interval_sec=1"),
    *("reporting.min_time_s_per_iteration=0.2", "run.num_checkpoints=1"),
]


@pytest.mark.ray
def test_training_goes_on_when_the_disk_is_full(tmp_path):
    """A file system under the whole run that fills up: alarms, no junk, and the old checkpoint is good."""
    folder = tmp_path / "run"
    with (
        _small_disk(folder),
        ChaosRun(folder, *_ONE_PROCESS, "loop.checkpoint_replay=true", "run.max_updates=100000") as run,
    ):
        run.wait_for(lambda rows: len(rows) >= 3, "three rows")
        _fill(folder / "ballast")
        told = ("metrics not written: [Errno 28]", "warning: lost rows: ", "warning: checkpoint age: ")
        run.wait_for(lambda rows: all(line in run.output for line in told), "alarms")
        assert "not saved" in run.output and "training goes on" in run.output
        assert run.output.count("metrics not written") == 1
        updates = run.rows[-1]["updates"]
        (folder / "ballast").unlink()
        run.wait_for(lambda rows: rows[-1]["updates"] > updates, "row after the lost ones")
        assert run.rows[-1]["lost_rows"] > 0
        _fill(folder / "ballast")
        run.wait_for(lambda rows: run.output.count("metrics not written") == 2, "second warning")
        os.kill(run.process.pid, signal.SIGTERM)
        assert run.finish() == 128 + signal.SIGTERM, run.output
        assert "stopped by SIGTERM and not saved" in run.output
        assert "Traceback" not in run.output.split("stopped by SIGTERM")[1]
        (folder / "ballast").unlink()
        store = CheckpointStore(folder / "checkpoints")
        checkpoint = store.recover()
        assert checkpoint is not None and find_problems(checkpoint.path) == []
        assert sorted(path.name for path in store.folder.iterdir()) == [checkpoint.path.name, "latest"]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run with two checkpoints and more."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = ["run.num_checkpoints=2", "run.checkpoint_interval_sec=0.1", "run.max_updates=200"]
    with ChaosRun(folder, *_ONE_PROCESS, *options) as run:
        assert run.finish() == 0, run.output
    return folder


def _damage(path, how, bomb):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        path.write_bytes(pickle.dumps(Bomb(bomb)))


@pytest.mark.ray
@pytest.mark.parametrize("how", ["truncated", "flipped", "pickle"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(run_folder, tmp_path, how):
    """On a resume; a pickle that was put there is not opened."""
    folder, bomb = tmp_path / "run", tmp_path / "executed"
    subprocess.run(["cp", "-r", str(run_folder), str(folder)], check=True)
    store = CheckpointStore(folder / "checkpoints")
    newest = store.latest()
    _damage(newest / "algorithm" / "algorithm_state.pkl", how, bomb)
    command = [sys.executable, "-m", "distill_rl.cli.main", "train", "--resume", "--out", str(folder)]
    done = subprocess.run([*command, "run.max_updates=210"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {newest.name} is corrupted (algorithm/algorithm_state.pkl" in done.stderr
    assert "trying the one before it" in done.stderr
    assert f"resumed from {newest.name}" not in done.stdout and "resumed from checkpoint_" in done.stdout
    assert not bomb.exists()


@pytest.mark.parametrize("how", ["truncated", "pickle"])
def test_a_policy_that_is_none_is_refused(run_folder, tmp_path, how):
    """Without executing it."""
    folder, bomb = tmp_path / "policy", tmp_path / "executed"
    subprocess.run(["cp", "-r", str(CheckpointStore(run_folder / "checkpoints").latest() / "policy"), folder])
    _damage(folder / "policy.safetensors", how, bomb)
    with pytest.raises(ValueError, match=r"policy\.safetensors"):
        load_policy(folder)
    assert not bomb.exists()
