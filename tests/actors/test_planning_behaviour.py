import types

import numpy as np
import pytest
from scipy import stats
from toy_simulator import PointMassEnv, PointMassSimulator

from actors.collection import RunningEpisode, collect_episodes
from actors.operators.config import OperatorChoice
from actors.operators.planners import CEM, MPPI, CEMConfig, MPPIConfig
from actors.operators.registry import OPERATORS, PLANNERS, make_operator
from actors.planning import UninformedPolicy, decide, planning_behaviour
from distill_rl.envs import make_env

_METADATA = {"name": "toy", "source": "a test"}
_SETTINGS = {"num_candidates": 16, "horizon_steps": 4, "hold_steps": 2}


class _Shifting(MPPI):
    """Adds 0.01 to every action of a plan, which is one of `slope * (0, 1, 2, 3)` if it was blank."""

    def __init__(self, slope):
        self.horizon_steps = 4
        self.simulator = PointMassSimulator()
        self._start = slope * np.arange(4)[None, :, None]

    def plan(self, state, nominal, policy, generator):
        is_blank = ~nominal.any(axis=(1, 2), keepdims=True)
        return types.SimpleNamespace(mean_plan=np.where(is_blank, self._start, nominal) + 0.01)


def _env(max_steps=20):
    return make_env(PointMassEnv, env_config={"max_steps": max_steps})


def _start(env, seed=0):
    return RunningEpisode(env, env.reset(seed=seed)[0])


def test_a_planner_carries_its_plan_over():
    """Each decision starts from the last plan, one step further."""
    operator, plans, found = _Shifting(slope=0.01), [None], []
    for _ in range(3):
        actions, plans = decide(operator, None, np.zeros((1, 1)), np.zeros((1, 1)), plans, None)
        found.append(actions[0, 0])
    np.testing.assert_allclose(found, [0.01, 0.03, 0.05])  # one more each time, and one step further


def test_plans_end_with_their_episodes():
    """Of environments that start anew at different times each drops its own plan, and no other."""
    envs = [_env(3), _env(5), _env(20)]
    behaviour = planning_behaviour(_Shifting(slope=0.0), scale=1e-5)
    dataset = collect_episodes(behaviour, envs, 60, 0, _METADATA)
    lengths = np.diff(dataset.episode_ends, prepend=0)
    assert set(lengths) == {3, 5, 20}
    for steps in dataset.episodes():
        decisions = np.arange(1, len(dataset.actions[steps]) + 1)
        np.testing.assert_allclose(dataset.actions[steps][:, 0], 0.01 * decisions, atol=1e-4)


def test_the_first_decision_does_not_depend_on_the_episode_before():
    """Neither through the plan nor through the operator; later ones do depend on the plan."""
    env = _env()
    operator = MPPI(PointMassSimulator(), MPPIConfig(**_SETTINGS))
    behave = planning_behaviour(operator, 0.05)
    fresh, _ = behave([_start(env)], np.random.default_rng(1))
    episode = _start(env, seed=7)
    for seed in range(5):
        behave([episode], np.random.default_rng(seed))
    again, _ = behave([_start(env)], np.random.default_rng(1))
    np.testing.assert_array_equal(again, fresh)
    carried = RunningEpisode(env, _start(env).observation, plan=episode.plan)
    assert not np.array_equal(behave([carried], np.random.default_rng(1))[0], fresh)


def test_noise_is_about_the_decision():
    """As it is taken with the same draws: uniform once its distribution function is applied. No densities."""
    operator, envs = CEM(PointMassSimulator(), CEMConfig(**_SETTINGS)), [_env() for _ in range(200)]
    episodes = [_start(env, seed) for seed, env in enumerate(envs)]
    state = np.stack([operator.simulator.snapshot(env) for env in envs])
    observation, policy = np.stack([e.observation for e in episodes]), UninformedPolicy(1)
    means, _ = decide(operator, policy, observation, state, [None] * 200, np.random.default_rng(3))
    actions, log_probs = planning_behaviour(operator, 0.1)(episodes, np.random.default_rng(3))
    distribution = stats.truncnorm((-1.0 - means) / 0.1, (1.0 - means) / 0.1, loc=means, scale=0.1)
    assert stats.kstest(distribution.cdf(actions).ravel(), "uniform").pvalue > 0.01
    assert log_probs is None


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_acts_with_nothing_learned(name):
    """Whole episodes, the same again for a seed."""
    settings = {"num_candidates": 8, "horizon_steps": 10, "hold_steps": 2, "num_simulations": 16}
    settings |= {"num_perturbed": 4, "ascent_steps": (), "num_elites": 2}
    config_type = OPERATORS[name].config_type
    known = {key: value for key, value in settings.items() if key in config_type.__dataclass_fields__}
    found = []
    for _ in range(2):
        envs = [make_env("InvertedPendulum-v5") for _ in range(2)]
        operator = make_operator(envs[0], OperatorChoice(name), config_type(**known))
        found.append(collect_episodes(planning_behaviour(operator, 0.01), envs, 20, 0, _METADATA).validate())
    np.testing.assert_array_equal(found[0].actions, found[1].actions)
    assert found[0].behaviour_log_probs is None


def test_what_is_learned_or_knows_no_environment_is_no_planner():
    """An operator that weighs samples of a policy has nothing to weigh."""
    assert set(OPERATORS) - set(PLANNERS) == {"critic", "policy"}


def test_noise_must_be_positive():
    """Before anything is planned."""
    with pytest.raises(ValueError, match="`scale` must be positive, got 0"):
        planning_behaviour(_Shifting(slope=0.0), 0.0)
