"""Objectives: losses that project reference sets onto a one-step policy."""

from distill_rl.diffusion.schedules import num_levels_at, target_decay_at
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


def ema_decay_at(config: DistillationConfig, update: int) -> float:
    """Returns the decay of the averaged weights: mu(k) with the adaptive schedule, else the configured one.

    Source: Song et al. (2023), Appendix C.

    Args:
      config: the configuration.
      update: gradient steps taken, `k`.
    """
    if config.objective != "consistency" or config.noise_level_schedule != "adaptive":
        return config.ema_decay
    return target_decay_at(num_levels_at(update, config.schedule_updates))


__all__ = [
    "OBJECTIVES",
    "ConsistencyObjective",
    "DenoisingObjective",
    "EndpointObjective",
    "EnergyObjective",
    "Objective",
    "ema_decay_at",
    "make_objective",
]
