"""Objectives: losses that project reference sets onto a one-step policy."""

from learners.config import DistillationConfig
from learners.density_posterior import TargetDensity, make_posterior
from learners.objectives.base import Objective
from learners.objectives.consistency import ConsistencyObjective
from learners.objectives.denoising import DenoisingObjective
from learners.objectives.endpoint import EndpointObjective
from learners.objectives.energy import EnergyObjective

_ObjectiveClass = (
    type[ConsistencyObjective] | type[DenoisingObjective] | type[EndpointObjective] | type[EnergyObjective]
)

OBJECTIVES: dict[str, _ObjectiveClass] = {
    "consistency": ConsistencyObjective,
    "denoising": DenoisingObjective,
    "endpoint": EndpointObjective,
    "energy": EnergyObjective,
}


def make_objective(
    config: DistillationConfig, target: TargetDensity | None = None, *, low: float = -1.0, high: float = 1.0
) -> Objective:
    """Builds the objective that a configuration names.

    Args:
      config: the configuration.
      target: p* as a function, for estimators that call it.
      low: lower end of the action range.
      high: upper end.

    Raises:
      ValueError: if the estimator needs a target and there is none.
    """
    posterior = make_posterior(config.posterior, target, low=low, high=high, sigma_data=config.sigma_data)
    return OBJECTIVES[config.objective].from_config(config, posterior)


__all__ = [
    "OBJECTIVES",
    "ConsistencyObjective",
    "DenoisingObjective",
    "EndpointObjective",
    "EnergyObjective",
    "Objective",
    "make_objective",
]
