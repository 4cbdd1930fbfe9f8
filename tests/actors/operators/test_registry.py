import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from actors.operators.base import ImprovementOperator
from actors.operators.config import OperatorChoice, OperatorConfig
from actors.operators.registry import find_operator, make_operator
from distill_rl.envs import make_env
from distill_rl.types import ReferenceSet


@dataclasses.dataclass(frozen=True)
class OwnConfig(OperatorConfig):
    fault: str = ""


class OwnOperator(ImprovementOperator):
    config_type = OwnConfig
    needs_simulator = False
    num_calls = 0

    def improve(self, observation, state, policy, generator, policy_version=0):
        count = self.config.num_candidates
        shape = (len(observation), count)
        log_probs = np.full(shape, -np.log(count), np.float32)
        actions = np.zeros((*shape, 1), np.float32)
        value = np.zeros(len(observation), np.float32)
        if self.config.fault == "type":
            return actions
        if self.config.fault == "mass":
            log_probs = log_probs + 1.0
        if self.config.fault == "size":
            actions = np.zeros((*shape, 3), np.float32)
        if self.config.fault == "list":
            return ReferenceSet(observation, actions.tolist(), log_probs, log_probs, value, value, 0)
        if self.config.fault == "column":
            return ReferenceSet(
                observation, actions, log_probs, log_probs, value[:, None], value, policy_version
            )
        if self.config.fault == "lost":
            value[0] = np.nan
        if self.config.fault == "observation":
            observation = observation + 1.0
        if self.config.fault == "version":
            policy_version += 1
        if self.config.fault == "count" and self.num_calls > 0:
            actions, log_probs = actions[:, :1], np.zeros((len(observation), 1), np.float32)
            shape = (len(observation), 1)
        self.num_calls += 1
        zeros = np.zeros(shape, np.float32)
        return ReferenceSet(observation, actions, log_probs, zeros, value, value, policy_version)


class Unready(OwnOperator):
    """Forgets its base class."""

    def __init__(self, simulator, config):
        pass


class Misconfigured(OwnOperator):
    config_type = dict


class Unpicklable(gym.Env):
    """No simulator can reproduce it."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __deepcopy__(self, memo):
        raise TypeError("not this one")


def _own(fault=""):
    choice = OperatorChoice(operator=f"{__name__}.OwnOperator")
    operator = make_operator(make_env(Unpicklable), choice, OwnConfig(num_candidates=4, fault=fault))
    observation = np.zeros((3, 2), np.float32)
    for _ in range(2):
        found = operator.improve(observation, np.empty((3, 0)), None, np.random.default_rng(0), 5)
    return found


def test_an_operator_of_ones_own_is_used_by_its_path():
    """Its set comes through, states that it gave up included."""
    assert _own().policy_version == 5
    assert np.isnan(_own("lost").value[0])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("type", "expected a ReferenceSet, got ndarray"),
        ("mass", "must sum to one"),
        ("size", "1 action dimensions, got `actions` of shape"),
        ("list", "expected `actions` of 3 states"),
        ("column", r"`value` must have shape \[3\]"),
        ("observation", "expected `observation` to be that of the states that were asked for"),
        ("version", "expected `policy_version` 5, got 6"),
        ("count", "expected 4 candidates a state as before, got 1"),
    ],
)
def test_a_malformed_set_is_refused_with_the_operators_name(fault, message):
    """Whose fault it is comes first."""
    with pytest.raises(ValueError, match=rf"operator '.*OwnOperator' returned a malformed .*{message}"):
        _own(fault)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gumbel_muzer", "did you mean 'gumbel_muzero'"),
        ("no_such_module.Operator", "No module named 'no_such_module'"),
        ("actors.operators.base.NoSuch", "has no attribute 'NoSuch'"),
        ("actors.operators.base.nanmean", "must be a subclass of ImprovementOperator"),
        (".Operator", "must be the path of a class"),
        (f"{__name__}.Misconfigured", "`config_type` of operator .* must be a subclass of OperatorConfig"),
    ],
)
def test_an_unknown_operator_is_refused(name, message):
    """With the nearest name, or with what is wrong with the path."""
    with pytest.raises(ValueError, match=message):
        find_operator(name)


def test_an_operator_that_cannot_be_built_is_named():
    """And what it must do."""
    choice = OperatorChoice(operator=f"{__name__}.Unready")
    with pytest.raises(ValueError, match=r"operator '.*Unready' must be built from \(simulator, config\)"):
        make_operator(make_env(Unpicklable), choice, OwnConfig())


def test_an_operator_that_simulates_nothing_needs_no_simulator():
    """Any environment will do; one that simulates still asks for it."""
    env = make_env(Unpicklable)
    assert make_operator(env, OperatorChoice("policy"), OperatorConfig()).simulator.action_size == 1
    with pytest.raises(ValueError, match="not this one"):
        make_operator(env, OperatorChoice("mppi"), find_operator("mppi").config_type())


def test_threads_reach_the_simulator():
    """They are native, so only a native simulator tells of them."""
    env = make_env("dm_control/reacher-easy-v0")
    choice = OperatorChoice("mppi", num_simulator_threads=2)
    operator = make_operator(env, choice, find_operator("mppi").config_type())
    assert "2 threads" in operator.simulator.description
    env.close()
