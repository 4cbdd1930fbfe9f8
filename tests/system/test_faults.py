"""What happens when something dies, and Tune."""

import os
import signal

import gymnasium as gym
import numpy as np
import pytest
import ray
from ray import tune
from system_config import make_config

from distill_rl.algorithms.learning import LearnerFailedError

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def _runner_handles(algorithm):
    return algorithm.env_runner_group._worker_manager.actors()


def test_killed_runner_is_replaced(ray_cluster):
    """A runner that dies is counted, comes back, gets the latest weights, and nothing counts twice."""
    algorithm = make_config(num_env_runners=2).build_algo()
    algorithm.train()
    ray.kill(_runner_handles(algorithm)[1], no_restart=False)
    for _ in range(200):
        loop = algorithm.train()["loop"]
        if loop["restarts"]:
            break
    assert loop["restarts"] == 1
    assert loop["lost"] >= 1
    before = loop["env_steps"]
    loop = algorithm.train()["loop"]
    assert loop["duplicates"] == 0
    assert loop["env_steps"] > before
    assert loop["env_steps"] == loop["reference_sets"]
    version = ray.get(_runner_handles(algorithm)[1].apply.remote(lambda runner: runner._weights_seq_no))
    assert loop["policy_version"] - version <= 64
    algorithm.stop()


def test_killed_store_is_replaced(ray_cluster):
    """Without the weight store runners go on, and a new store takes its place."""
    algorithm = make_config(num_env_runners=1).build_algo()
    algorithm.train()
    ray.kill(algorithm._store.store)
    loop = algorithm.train()["loop"]
    assert loop["store_restarts"] == 1
    loop = algorithm.train()["loop"]
    assert loop["policy_lag_max"] <= 128
    algorithm.stop()


def test_environment_that_breaks_is_named(ray_cluster):
    """An environment's own error reaches the caller."""

    class CrashingPendulum(gym.Wrapper):
        """Raises at its second episode."""

        def __init__(self, **kwargs):
            super().__init__(gym.make("Pendulum-v1", max_episode_steps=10))
            self._num_resets = 0

        def reset(self, **kwargs):
            self._num_resets += 1
            if self._num_resets > 1:
                raise RuntimeError("the second episode is broken")
            return self.env.reset(**kwargs)

    tune.register_env("crashing", lambda context: CrashingPendulum())
    config = make_config(num_env_runners=1).environment("crashing", env_config={})
    config.search(horizon_steps=1, hold_steps=1).loop(max_consecutive_failures=1)
    algorithm = config.build_algo()
    with pytest.raises(RuntimeError, match="the second episode is broken"):
        for _ in range(10):
            algorithm.train()
    algorithm.stop()


def _kill_learner(algorithm):
    ray.kill(algorithm.learner_group._workers[0])


def _stop_learner(algorithm):
    (answer,) = algorithm.learner_group.foreach_learner(lambda learner: os.getpid())
    os.kill(answer.get(), signal.SIGSTOP)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            _kill_learner,
            r"learner 0 of 1 \(host .+, pid \d+, log .+\) failed; resume from the last checkpoint",
        ),
        (_stop_learner, r"no answer for 20.0 s from 1 learners \(in flight: .+ host .+, pid \d+, log .+\)"),
    ],
)
def test_failed_learner_is_named_and_replaced(ray_cluster, tmp_path, harm, message):
    """Dead or stuck: the error names it; a new one goes on from the checkpoint, and runners stay."""
    config = make_config(num_env_runners=1, num_learners=1).loop(request_timeout_sec=20.0)
    algorithm = config.build_algo()
    saved = algorithm.train()["loop"]
    algorithm.save_to_path(str(tmp_path / "checkpoint"))
    runner = _pid_of_runner(algorithm)
    before = algorithm.train()["loop"]
    harm(algorithm)
    with pytest.raises(LearnerFailedError, match=message):
        for _ in range(20):
            before = algorithm.train()["loop"]
    algorithm.recover_learners(tmp_path / "checkpoint")
    (state,) = [r.get() for r in algorithm.learner_group.foreach_learner(lambda x: x.trainer.get_state())]
    assert saved["updates"] <= state["num_updates"] < before["updates"]
    assert algorithm.loop_metrics.policy_version == state["num_updates"]
    after = algorithm.train()["loop"]
    assert after["updates"] > state["num_updates"]
    assert after["env_steps"] > before["env_steps"]
    assert after["learner_restarts"] == 1
    assert after["lost"] == after["duplicates"] == 0
    assert _pid_of_runner(algorithm) == runner
    algorithm.stop()


def _pid_of_runner(algorithm):
    return ray.get(_runner_handles(algorithm)[1].apply.remote(lambda runner: os.getpid()))


def test_learner_in_this_process_cannot_be_replaced(ray_cluster, tmp_path):
    """It ends with the driver."""
    algorithm = make_config().build_algo()
    with pytest.raises(ValueError, match="`num_learners` must be at least 1"):
        algorithm.recover_learners(tmp_path)
    algorithm.stop()


def test_two_learners_hold_the_same_weights(ray_cluster):
    """After updates on different data, both learners have equal weights, and different replays."""
    algorithm = make_config(num_env_runners=1, num_learners=2).build_algo()
    algorithm.train()
    algorithm._learning.drain()
    answers = algorithm.learner_group.foreach_learner(
        lambda learner: (learner.trainer.get_state(), learner.get_replay_state(), os.getpid())
    )
    (first, first_replay, pid), (second, second_replay, other_pid) = [answer.get() for answer in answers]
    assert pid != other_pid
    for networks in ("online", "ema"):
        for name, tensor in first[networks].items():
            np.testing.assert_array_equal(tensor.numpy(), second[networks][name].numpy())
    assert first["num_updates"] == second["num_updates"] > 0
    values = [r["replay"]["arrays"]["value"] for r in (first_replay, second_replay)]
    assert not np.array_equal(*values)
    algorithm.stop()


@pytest.mark.parametrize("name", ["Distill", None])
def test_tune_runs_a_grid(ray_cluster, tmp_path, name):
    """Tune runs the algorithm by name or class, over a grid in one of our sections, and checkpoints it."""
    from distill_rl.algorithms import Distill

    config = make_config().search(num_candidates=tune.grid_search([4, 6]))
    tuner = tune.Tuner(
        name or Distill,
        param_space=config,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            stop={"training_iteration": 2},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
            verbose=0,
        ),
    )
    results = tuner.fit()
    assert not results.errors
    assert {r.config["search_options"]["num_candidates"] for r in results} == {4, 6}
    assert all(r.metrics["loop"]["updates"] > 0 and r.checkpoint is not None for r in results)
