"""Actors and learners that are killed, again and again, in whole runs."""

import os
import re
import signal
import threading

import numpy as np
import pytest
import ray
from chaos_run import ChaosRun
from ray_nodes import LEARNER, RUNNER
from system_config import make_config

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.ray]

_NUM_RUNNER_KILLS = 20
_NUM_LEARNER_KILLS = 5
_NUM_DRIVER_KILLS = 3


def test_env_runners_killed_while_they_search(ray_cluster):
    """20 times SIGKILL: the run completes, and no reference set reaches the replay twice."""
    algorithm = make_config(num_env_runners=2).reporting(min_sample_timesteps_per_iteration=128).build_algo()
    algorithm.train()
    generator = np.random.default_rng(0)
    for num_kills in range(1, _NUM_RUNNER_KILLS + 1):
        # Requests are in flight, so every runner is at a search whenever the timer fires.
        runner = algorithm.env_runner_group._worker_manager.actors()[int(generator.integers(1, 3))]
        pid = ray.get(runner.apply.remote(lambda runner: os.getpid()))
        timer = threading.Timer(generator.uniform(0.0, 0.1), os.kill, (pid, signal.SIGKILL))
        timer.start()
        while algorithm.loop_metrics.num_restarts < num_kills:
            algorithm.train()
        timer.join()
    loop = algorithm.train()["loop"]
    assert loop["restarts"] == _NUM_RUNNER_KILLS
    assert loop["duplicates"] == 0
    # One searched state in two sets, to the last bit, would be one set twice.
    arrays = algorithm.learner_group._learner.get_replay_state()["replay"]["arrays"]
    rows = np.concatenate(
        [arrays["observation"], arrays["actions"].reshape(len(arrays["value"]), -1)], axis=1
    )
    assert len(np.unique(rows, axis=0)) == len(rows) == loop["replay_sets"]
    algorithm.stop()


def test_learners_killed_in_a_run(tmp_path):
    """5 times SIGKILL, once SIGSTOP: new learners go on, and lose no more than since the last checkpoint."""
    overrides = [
        "env_runners.num_env_runners=1",
        "learners.num_learners=1",
        "loop.request_timeout_sec=20",
        "run.checkpoint_interval_sec=2",
        "run.max_learner_restarts=3",
        "reporting.min_time_s_per_iteration=0.5",
    ]
    with ChaosRun(tmp_path / "run", *overrides, "--time-limit", "20m") as run:
        run.wait_for(lambda rows: len(rows) >= 6, "six rows")
        runner = run.actors(RUNNER)
        for number in range(_NUM_LEARNER_KILLS + 1):
            before = run.rows[-1]
            learner, *_ = run.actors(LEARNER)
            saved = run.saved_updates()
            os.kill(learner, signal.SIGKILL if number < _NUM_LEARNER_KILLS else signal.SIGSTOP)
            run.wait_for(lambda rows, n=number: rows[-1]["learner_restarts"] == n + 1, "new learner")
            after = next(row for row in run.rows if row["learner_restarts"] == number + 1)
            assert after["updates"] >= saved
            assert after["env_steps"] >= before["env_steps"]
            assert run.actors(LEARNER) != [learner]
            run.wait_for(
                lambda rows, u=before["updates"]: rows[-1]["updates"] > u, "updates beyond the old ones"
            )
        assert run.actors(RUNNER) == runner
        os.kill(run.process.pid, signal.SIGTERM)
        assert run.finish() == 128 + signal.SIGTERM
        rows = run.rows
    assert rows[-1]["restarts"] == 0
    assert run.output.count("new learners go on from checkpoint_") == _NUM_LEARNER_KILLS + 1
    assert "learner 0 of 1 (host " in run.output
    assert sum(row["alarm/restarts"] for row in rows) == _NUM_LEARNER_KILLS + 1


def test_drivers_killed_in_a_run(tmp_path):
    """3 times SIGKILL, once SIGSTOP, with --restarts: the run ends by itself, checkpoint by checkpoint."""
    overrides = [
        "env_runners.num_env_runners=0",
        "run.checkpoint_interval_sec=1",
        "reporting.min_time_s_per_iteration=0.2",
        "run.max_env_steps=2000",
        "run.progress_timeout_sec=100",
    ]
    with ChaosRun(tmp_path / "run", *overrides, "--restarts", "5") as run:
        for number in range(1, _NUM_DRIVER_KILLS + 2):
            run.wait_for(lambda rows, n=number: rows and rows[-1]["env_steps"] >= 200 * n, "progress")
            saved = run.saved_updates()
            (driver,) = run.actors("distill_rl.cli.main train")
            os.kill(driver, signal.SIGKILL if number <= _NUM_DRIVER_KILLS else signal.SIGSTOP)
            run.wait_for(lambda rows, n=number: run.output.count("resumed from") == n, "resume")
            (resumed,) = re.findall(r"resumed from checkpoint_\d+: (\d+) updates", run.output)[number - 1 :]
            assert int(resumed) >= saved
        assert run.finish() == 0, run.output
        env_steps = [row["env_steps"] for row in run.rows]
        assert env_steps == sorted(set(env_steps))
        assert run.summary["env_steps"] >= 2000
    assert run.output.count("the driver died (signal 9), and is started again in") == _NUM_DRIVER_KILLS + 1
    assert run.output.count("no progress for 100 s; the driver is killed") == 1
