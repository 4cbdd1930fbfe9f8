"""What an improvement operator is, and what it tells about a search."""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np

from actors.operators.config import OperatorConfig
from actors.search.temperature import effective_sample_size, kl_divergence
from actors.simulators.base import Simulator
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet


class ImprovementOperator(abc.ABC):
    """Turns states into reference sets. A user's own is a subclass, named by its dotted path.

    Attributes:
      config_type: a frozen dataclass, whose fields are the options of the operator.
      needs_simulator: whether it simulates; if not, any environment will do.
      simulator: model of the environment.
      config: settings.
      last_search: what the last search did; None before the first.
    """

    config_type: ClassVar[type[OperatorConfig]] = OperatorConfig
    needs_simulator: ClassVar[bool] = True

    def __init__(self, simulator: Simulator, config: Any = None):
        """Builds the operator.

        Args:
          simulator: model of the environment.
          config: settings, of `config_type`; its defaults if None.
        """
        self.simulator = simulator
        self.config = config or self.config_type()
        self.last_search: SearchDiagnostics | None = None

    @abc.abstractmethod
    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Improves on `policy` at a batch of states.

        Args:
          observation: shape `[B, O]`, float32.
          state: simulator states. Shape `[B, S]`.
          policy: the policy to improve on, with its value function.
          generator: source of every random draw.
          policy_version: version of `policy`, stamped on the result.

        Returns:
          A reference set. NaN in `value` or `policy_value` marks a state whose simulations diverged; whoever
          called the search drops it.

        Raises:
          ValueError: if the shapes disagree.
        """


@dataclasses.dataclass(frozen=True)
class SearchDiagnostics:
    """What one search did, averaged over its states.

    Attributes:
      kl: divergence of the improved policy from the uniform distribution over candidates, in nats.
      effective_sample_size: of the improved policy, 1 to N.
      temperature: median over the states, in reward units; NaN for operators without one.
      improvement: value of the improved policy less the policy's own.
      diverged_fraction: share of simulations that diverged.
      simulator_steps: control steps simulated, in total.
    """

    kl: float
    effective_sample_size: float
    temperature: float
    improvement: float
    diverged_fraction: float
    simulator_steps: int


def diagnose(
    log_weights: np.ndarray,
    value: np.ndarray,
    policy_value: np.ndarray,
    *,
    diverged_fraction: float,
    simulator_steps: int,
    temperature: np.ndarray | None = None,
) -> SearchDiagnostics:
    """Returns the diagnostics of a search.

    Args:
      log_weights: of the improved policy over candidates, normalised. Shape `[B, N]`.
      value: of the improved policy. Shape `[B]`.
      policy_value: of the policy. Shape `[B]`.
      diverged_fraction: share of simulations that diverged.
      simulator_steps: control steps simulated.
      temperature: of each state, if there is one. Shape `[B]`.
    """
    return SearchDiagnostics(
        kl=float(kl_divergence(log_weights).mean()),
        effective_sample_size=float(effective_sample_size(log_weights).mean()),
        temperature=float("nan") if temperature is None else float(np.median(temperature)),
        improvement=nanmean(value - policy_value),
        diverged_fraction=diverged_fraction,
        simulator_steps=simulator_steps,
    )


def expectation(log_weights: np.ndarray, q_values: np.ndarray) -> np.ndarray:
    """Returns `sum_k p_k Q_k` over the candidates with mass; NaN where that includes a NaN. Shape `[B]`."""
    weights = np.exp(log_weights)
    return np.where(weights > 0.0, weights * q_values, 0.0).sum(axis=1)


def nanmean(values: np.ndarray) -> float:
    """Returns the mean of the finite values, of any shape `[...]`; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
