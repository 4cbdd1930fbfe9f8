"""The loop in every layout of actors and learners, on the pendulum."""

import math

import numpy as np
import pytest
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.test_utils import check_train_results_new_api_stack
from system_config import make_config

pytestmark = pytest.mark.ray

_QUICK = [(0, 0), (1, 0)]
_SLOW = [(2, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
_LAYOUTS = _QUICK + [pytest.param(*layout, marks=pytest.mark.slow) for layout in _SLOW]


def learner_weights(algorithm):
    return algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]


@pytest.mark.parametrize(("num_env_runners", "num_learners"), _LAYOUTS)
def test_layout_trains_evaluates_and_restores(ray_cluster, tmp_path, num_env_runners, num_learners):
    """Every layout keeps its books, evaluates, and goes back to a checkpoint in place and in a new object."""
    algorithm = make_config(num_env_runners, num_learners).build_algo()
    for _ in range(2):
        result = algorithm.train()
    loop = result["loop"]
    assert loop["env_steps"] >= 512 and loop["env_steps"] % 32 == 0
    assert loop["reference_sets"] == loop["env_steps"]
    assert 0 < loop["updates"] <= math.floor(0.25 * (loop["env_steps"] - 64))
    assert loop["updates"] >= 0.25 * (loop["env_steps"] - 64) - 256 - 8
    for name in ("dropped", "lost", "duplicates", "invalid_sets", "restarts", "failed_pulls", "unpublished"):
        assert loop[name] == 0, name
    assert loop["policy_lag_max"] >= loop["policy_lag_mean"] >= 0
    kinds = [kind for kind in ("search", "student", "mixed") if loop[f"{kind}_episodes"]]
    assert kinds and all(math.isfinite(loop[f"{kind}_return"]) for kind in kinds)
    check_train_results_new_api_stack(result)
    evaluation = algorithm.evaluate()
    assert math.isfinite(evaluation["env_runners"]["episode_return_mean"])
    # Back to an earlier time, in place.
    algorithm.save_to_path(str(tmp_path))
    saved, num_updates = learner_weights(algorithm), algorithm.learner_group.get_state()
    algorithm.train()
    algorithm.restore_from_path(str(tmp_path))
    version = num_updates["learner"]["trainer"]["num_updates"]
    assert algorithm.loop_metrics.policy_version == version
    for name, array in learner_weights(algorithm).items():
        np.testing.assert_array_equal(array, saved[name])
    assert algorithm.train()["loop"]["policy_version"] >= version
    algorithm.stop()


def test_one_process_repeats_itself(ray_cluster):
    """Without runners and learners, the same seed gives the same weights; another gives others."""
    weights = []
    for seed in (0, 0, 1):
        algorithm = make_config().debugging(seed=seed).build_algo()
        algorithm.train()
        weights.append(learner_weights(algorithm))
        algorithm.stop()
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(np.array_equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_from_checkpoint_continues(ray_cluster, tmp_path):
    """A new object has the counters, the replay and the weights of the saved one."""
    from distill_rl.algorithms import Distill

    algorithm = make_config().build_algo()
    loop = algorithm.train()["loop"]
    algorithm.save_to_path(str(tmp_path))
    saved = learner_weights(algorithm)
    algorithm.stop()
    restored = Distill.from_checkpoint(str(tmp_path))
    for name, array in learner_weights(restored).items():
        np.testing.assert_array_equal(array, saved[name])
    continued = restored.train()["loop"]
    assert continued["env_steps"] == loop["env_steps"] + 256
    assert continued["replay_sets"] == loop["replay_sets"] + 256
    assert continued["updates"] == loop["updates"] + 64
    restored.stop()


def test_evaluation_measures_student_and_search(ray_cluster):
    """A result holds the distilled policy's return and, if asked for, the search policy's."""
    config = make_config().evaluation(evaluation_interval=1).loop(num_search_evaluation_episodes=3)
    algorithm = config.build_algo()
    evaluation = algorithm.train()["evaluation"]
    assert math.isfinite(evaluation["env_runners"]["episode_return_mean"])
    assert evaluation["search_policy"]["num_episodes"] == 3
    assert math.isfinite(evaluation["search_policy"]["episode_return_mean"])
    algorithm.stop()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("dm_control/pendulum-swingup", "pendulum-swingup-v0"),
        ("CartPole-v1", "CartPole-v1"),
        (None, "`environment` must be set"),
    ],
)
def test_unusable_environment_is_one_clear_error(ray_cluster, env, message):
    """An environment that is unknown, discrete or missing is a ValueError before any actor starts."""
    config = make_config(num_env_runners=1).environment(env, env_config={})
    with pytest.raises(ValueError, match=message):
        config.build_algo()


def test_weights_need_not_follow_every_call(ray_cluster):
    """Published versions are as far apart as asked for, and the actors have the last one of them."""
    algorithm = make_config().loop(publish_interval_updates=10).build_algo()
    algorithm.train()
    versions = algorithm._gate._published
    assert len(versions) > 2 and min(np.diff(versions)) >= 10
    assert algorithm.env_runner._weights_seq_no == versions[-1]
    assert algorithm.learner_group._learner.trainer.num_updates < versions[-1] + 10
    algorithm.stop()
