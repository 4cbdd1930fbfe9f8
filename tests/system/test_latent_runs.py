"""The loop with a learned model: any operator, checkpoints, and a policy that acts without Ray."""

import threading

import gymnasium as gym
import numpy as np
import pytest
from system_config import make_config
from test_train_runs import _sections

from distill_rl.cli.evaluation import evaluate_path
from distill_rl.cli.training import run_training
from distill_rl.policies.loading import load_policy

pytestmark = pytest.mark.ray

_MODEL = {"enabled": True, "latent_size": 16, "group_size": 4, "model_hidden_sizes": [16]}


@pytest.mark.parametrize(
    "search",
    [
        {},
        {"operator": "gumbel_muzero", "num_simulations": 4},
        {"operator": "mppi", "horizon_steps": 2, "hold_steps": 1},
        {"operator": "critic"},
    ],
    ids=lambda search: search.get("operator", "root_bandit"),
)
def test_operators_search_a_learned_model(ray_cluster, search):
    """The same operators, the critic included; the model learns beside the policy."""
    config = make_config().search(**search).world_model(**_MODEL)
    algorithm = config.reporting(min_sample_timesteps_per_iteration=128).build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    loop = result["loop"]
    assert loop["updates"] > 0 and loop["skipped_updates"] == 0
    assert np.isfinite(result["learners"]["default_policy"]["consistency_loss"])


class Locked(gym.Env):
    """Holds a lock, so it cannot be copied."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self):
        self._lock, self._num_steps = threading.Lock(), 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._num_steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self._num_steps += 1
        observation = np.full(3, float(action[0]), np.float32)
        return observation, float(action[0]), False, self._num_steps == 10, {}


def test_what_cannot_be_copied_can_be_learned(ray_cluster):
    """With a model of it; without one the refusal says why."""
    config = make_config().environment(Locked, env_config={})  # with a horizon in steps
    config.reporting(min_sample_timesteps_per_iteration=128)
    with pytest.raises(ValueError, match="must have a state that can be copied"):
        config.copy().build_algo()
    algorithm = config.world_model(**_MODEL).build_algo()
    try:
        assert "learned model" in algorithm.description
        assert algorithm.train()["loop"]["updates"] > 0
    finally:
        algorithm.stop()


@pytest.mark.slow
def test_two_learners_share_a_model(ray_cluster):
    """Their gradients are averaged, and the steps are dealt out with the labels."""
    algorithm = make_config(num_env_runners=1, num_learners=2).world_model(**_MODEL).build_algo()
    try:
        loop = algorithm.train()["loop"]
    finally:
        algorithm.stop()
    assert loop["updates"] > 0 and loop["skipped_updates"] == 0


def test_a_run_leaves_a_policy_with_its_encoder(ray_cluster, tmp_path):
    """It acts on observations, alone and in the evaluation of search and student."""
    sections = _sections(192) | {"world_model": _MODEL}
    run_training(sections, tmp_path / "run")
    policy = load_policy(tmp_path / "run")
    actions = policy.act(np.random.default_rng(0).normal(size=(4, 5)))
    assert actions.shape == (4, 1) and (np.abs(actions) <= 1.0).all()
    assert policy.encoder is not None and policy.policy.observation_size == 16
    found = evaluate_path(tmp_path / "run", 1, with_search=True)
    assert np.isfinite(found["search"].mean_return) and np.isfinite(found["student"].mean_return)
