"""Operators by name, and a user's own by dotted path."""

import importlib

import gymnasium as gym
import numpy as np

from actors.operators.base import ImprovementOperator
from actors.operators.config import OperatorChoice, OperatorConfig
from actors.operators.critic import Critic
from actors.operators.gumbel_muzero import GumbelMuZero
from actors.operators.muzero import MuZero, SampledMuZero
from actors.operators.planners import CEM, MPPI
from actors.operators.policy import PolicySamples
from actors.operators.regularized_policy import RegularizedPolicy
from actors.operators.root_bandit import RootBandit
from actors.simulators.base import Simulator
from actors.simulators.factory import make_simulator
from actors.simulators.none import NoSimulator
from distill_rl.checks import check_choice, check_shape
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet

OPERATORS: dict[str, type[ImprovementOperator]] = {
    "root_bandit": RootBandit,
    "gumbel_muzero": GumbelMuZero,
    "muzero": MuZero,
    "sampled_muzero": SampledMuZero,
    "regularized_policy": RegularizedPolicy,
    "mppi": MPPI,
    "cem": CEM,
    "critic": Critic,
    "policy": PolicySamples,
}
"""The operators that come with the project."""

PLANNERS = tuple(name for name, operator_type in OPERATORS.items() if operator_type.needs_simulator)
"""Those that can decide without anything learned."""


def find_operator(name: str) -> type[ImprovementOperator]:
    """Returns the class of an operator.

    Args:
      name: one of `OPERATORS`, or the dotted path of a subclass of `ImprovementOperator`.

    Raises:
      ValueError: if there is none of that name, naming the nearest, its module cannot be imported, or it is
        no such class.
    """
    if "." not in name:
        check_choice("operator", name, OPERATORS)
        return OPERATORS[name]
    module_name, _, class_name = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever a user's module raises as it is imported
        raise ValueError(
            f"`operator` must be the path of a class, got {name!r}: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, ImprovementOperator)):
        raise ValueError(f"`operator` must be a subclass of ImprovementOperator, got {name!r}: {found!r}")
    config_type = found.config_type
    if not (isinstance(config_type, type) and issubclass(config_type, OperatorConfig)):
        raise ValueError(
            f"`config_type` of operator {name!r} must be a subclass of OperatorConfig, got {config_type!r}"
        )
    return found


def make_operator(
    env: gym.Env, choice: OperatorChoice, config: OperatorConfig, simulator: Simulator | None = None
) -> ImprovementOperator:
    """Builds an operator with the simulator of an environment.

    Args:
      env: an environment of `distill_rl.envs.make_env`; it is never touched.
      choice: names the operator.
      config: of the operator's `config_type`.
      simulator: what to simulate instead of the environment.

    Raises:
      ValueError: if there is no such operator, no simulator can reproduce the environment, or the settings do
        not fit it.
    """
    operator_type = find_operator(choice.operator)
    if simulator is None and operator_type.needs_simulator:
        simulator = make_simulator(env, num_threads=choice.num_simulator_threads)
    elif simulator is None:
        simulator = NoSimulator(env)
    if choice.operator in OPERATORS:
        return operator_type(simulator, config)
    try:
        return _Checked(choice.operator, operator_type(simulator, config))
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"operator {choice.operator!r} must be built from (simulator, config) and hand both to "
            f"`super().__init__`: {error}"
        ) from error


class _Checked(ImprovementOperator):
    """Refuses malformed reference sets of a user's operator."""

    def __init__(self, name: str, operator: ImprovementOperator):
        super().__init__(operator.simulator, operator.config)
        self._name = name
        self._operator = operator
        self._num_candidates: int | None = None

    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Returns the operator's set.

        Raises:
          ValueError: naming the operator, if the set is malformed.
        """
        found = self._operator.improve(observation, state, policy, generator, policy_version)
        self.last_search = self._operator.last_search
        try:
            _check(found, observation, policy_version, self.simulator.action_size)
            self._check_count(found.actions.shape[1])
        except ValueError as error:
            raise ValueError(
                f"operator {self._name!r} returned a malformed reference set: {error}"
            ) from error
        return found

    def _check_count(self, count: int) -> None:
        """Raises a `ValueError` if there are not as many candidates as before: replays hold one size."""
        if self._num_candidates not in (None, count):
            raise ValueError(f"expected {self._num_candidates} candidates a state as before, got {count}")
        self._num_candidates = count


def _check(found: ReferenceSet, observation: np.ndarray, policy_version: int, action_size: int) -> None:
    """Raises a `ValueError` unless the set is one of these states; NaN values are for the caller."""
    if not isinstance(found, ReferenceSet):
        raise ValueError(f"expected a ReferenceSet, got {type(found).__name__}")
    for name, array in found.to_arrays().items():
        if len(getattr(array, "shape", ())) == 0 or array.shape[0] != len(observation):
            raise ValueError(
                f"expected `{name}` of {len(observation)} states, got {getattr(array, 'shape', array)!r}"
            )
    if found.policy_version != policy_version:
        raise ValueError(f"expected `policy_version` {policy_version}, got {found.policy_version}")
    if not np.array_equal(found.observation, observation, equal_nan=True):
        raise ValueError("expected `observation` to be that of the states that were asked for")
    if found.actions.ndim != 3 or found.actions.shape[-1] != action_size:
        raise ValueError(
            f"expected {action_size} action dimensions, got `actions` of shape {list(found.actions.shape)}"
        )
    for name in ("value", "policy_value"):
        check_shape(name, getattr(found, name), (len(observation),))
    is_kept = np.isfinite(found.value) & np.isfinite(found.policy_value)
    found.map_arrays(lambda array: array[is_kept]).validate()
