"""Methods in training: what is evaluated, and what is counted."""

import numpy as np
import pytest
import torch

from distill_rl.cli.experiments.contenders import CONTENDERS, mode_policy, observation_filter
from distill_rl.cli.experiments.learning_curves import curve_specs
from distill_rl.envs import make_env


@pytest.fixture(scope="module")
def contenders(ray_cluster):
    """Every method at the tiny scale, after two moments of training."""
    num_threads = torch.get_num_threads()
    built = {}
    for spec in curve_specs("tiny").values():
        built[spec.method] = contender = CONTENDERS[spec.method](spec)
        contender.train()
        contender.train()
        contender.wait_idle()
    yield built
    for contender in built.values():
        contender.stop()
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def env():
    """An environment of the tiny scale."""
    spec = curve_specs("tiny")["sac_seed10"]
    env = make_env(spec.env, action_repeat=spec.action_repeat)
    yield env
    env.close()


@pytest.mark.ray
@pytest.mark.parametrize("method", ["distill", "sac", "ppo"])
def test_evaluation_repeats_itself(contenders, env, method):
    """Policies act without noise, and evaluation changes nothing."""
    contender = contenders[method]
    before = contender.counts()
    for evaluate_fn in contender.policies.values():
        first, second = (evaluate_fn([env], 1, 3) for _ in range(2))
        assert first.returns.tolist() == second.returns.tolist()
        assert first.lengths.tolist() == [50]
    assert contender.counts() == before


@pytest.mark.ray
@pytest.mark.parametrize("method", ["sac", "ppo"])
def test_methods_without_search_simulate_what_they_act(contenders, method):
    """An action repeat counts as often as it is."""
    counts = contenders[method].counts()
    assert counts.env_steps > 0
    assert counts.simulator_steps == 20 * counts.env_steps


@pytest.mark.ray
def test_search_counts_its_own_steps_and_those_of_the_environments(contenders):
    """Each state costs its own step, and one for each candidate: the horizon is one."""
    counts = contenders["distill"].counts()
    assert counts.env_steps > 0
    assert counts.simulator_steps == 20 * counts.env_steps * (1 + 2)


@pytest.mark.ray
def test_ppo_sees_observations_as_in_training(contenders):
    """The filter is the connector's own, and counts nothing."""
    algorithm = contenders["ppo"]._algorithm
    connectors = algorithm.env_runner._env_to_module.connectors
    (own,) = (c for c in connectors if type(c).__name__ == "MeanStdFilter")
    observation = np.random.default_rng(0).standard_normal((4, 17)).astype(np.float32)
    num_before = own.get_state()[None]["running_stats"][0]["num_pushes"]
    normalised = observation_filter(algorithm)(observation)
    expected = np.stack([own._filters[None](row, update=False) for row in observation])
    np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-6)
    assert own.get_state()[None]["running_stats"][0]["num_pushes"] == num_before > 0
    assert np.abs(normalised - observation).max() > 0.1


@pytest.mark.ray
def test_sac_acts_with_the_squashed_mean(contenders):
    """The squashed mean, as in Haarnoja et al.; observations are as they are."""
    algorithm = contenders["sac"]._algorithm
    module = algorithm.learner_group._learner.module["default_policy"]
    observation = np.random.default_rng(0).standard_normal((4, 17)).astype(np.float32)
    with torch.no_grad():
        encoded = module.pi_encoder({"obs": torch.from_numpy(observation)})["encoder_out"]
        mean = module.pi(encoded)[:, :6]
    np.testing.assert_allclose(mode_policy(algorithm)(observation), torch.tanh(mean).numpy(), atol=1e-5)
