"""MPPI and the cross-entropy method as improvement operators: how plans are weighed, and noise is fitted."""

import dataclasses
from typing import ClassVar

import numpy as np

from actors.operators.config import BoltzmannConfig
from actors.operators.planner import Planner, PlannerConfig
from actors.search.temperature import improved_policy
from distill_rl.checks import check_at_least_one, check_positive


@dataclasses.dataclass(frozen=True)
class MPPIConfig(PlannerConfig, BoltzmannConfig):
    """Settings of `MPPI`; see also `PlannerConfig` and `BoltzmannConfig`."""


class MPPI(Planner):
    """Model-predictive path-integral control: weights `exp(return / eta)`, noise that stays as it is.

    Source: Williams et al. (2017), "Information theoretic MPC for model-based reinforcement learning",
    Algorithm 2, with eta by a target for the weights' divergence or sample size.
    """

    config_type: ClassVar[type[MPPIConfig]] = MPPIConfig
    config: MPPIConfig

    def _weigh(self, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return improved_policy(returns, target_kl=self.config.target_kl, target_ess=self.config.target_ess)

    def _next_scale(
        self, weights: np.ndarray, offsets: np.ndarray, offset_mean: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        return scale


@dataclasses.dataclass(frozen=True)
class CEMConfig(PlannerConfig):
    """Settings of `CEM`; see also `PlannerConfig`.

    Attributes:
      num_elites: plans that the next round is fitted to, and that are the improved policy of the last one.
      min_scale: smallest standard deviation of a later round.
    """

    num_iterations: int = 3
    num_elites: int = 6
    min_scale: float = 0.05

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        check_at_least_one("num_elites", self.num_elites)
        check_positive("min_scale", self.min_scale)
        if self.num_elites > self.num_candidates:
            raise ValueError(
                f"`num_elites` must be at most num_candidates = {self.num_candidates}, got {self.num_elites}"
            )


class CEM(Planner):
    """The cross-entropy method: equal weights on the elites, to whose moments the next round is fitted.

    Source: de Boer et al. (2005), "A tutorial on the cross-entropy method", Algorithm 3.1, for normal
    distributions, which are squashed here.
    """

    config_type: ClassVar[type[CEMConfig]] = CEMConfig
    config: CEMConfig

    def _weigh(self, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        ranked = np.where(np.isfinite(returns), returns, -np.inf)
        rank = np.argsort(np.argsort(-ranked, axis=1, kind="stable"), axis=1, kind="stable")
        is_elite = (rank < self.config.num_elites) & (np.isfinite(returns) | (rank == 0))
        with np.errstate(divide="ignore"):
            return np.log(is_elite / is_elite.sum(axis=1, keepdims=True)), None

    def _next_scale(
        self, weights: np.ndarray, offsets: np.ndarray, offset_mean: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        variance = np.einsum("bn,bnga->bga", weights, (offsets - offset_mean[:, None]) ** 2)
        return np.maximum(np.sqrt(variance), self.config.min_scale)
