"""Objectives: losses that project reference sets onto a one-step policy."""

from learners.config import DistillationConfig
from learners.objectives.base import Objective
from learners.objectives.consistency import ConsistencyObjective
from learners.objectives.denoising import DenoisingObjective
from learners.objectives.endpoint import EndpointObjective

OBJECTIVES: dict[str, type[ConsistencyObjective] | type[DenoisingObjective] | type[EndpointObjective]] = {
    "consistency": ConsistencyObjective,
    "denoising": DenoisingObjective,
    "endpoint": EndpointObjective,
}


def make_objective(config: DistillationConfig) -> Objective:
    """Builds the objective that a configuration names."""
    return OBJECTIVES[config.objective].from_config(config)


__all__ = [
    "OBJECTIVES",
    "ConsistencyObjective",
    "DenoisingObjective",
    "EndpointObjective",
    "Objective",
    "make_objective",
]
