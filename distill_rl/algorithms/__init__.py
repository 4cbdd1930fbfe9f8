"""The algorithms: where actors and learners meet."""

from ray import tune

from distill_rl.algorithms.distill import Distill
from distill_rl.algorithms.distill_config import DistillConfig

__all__ = ["Distill", "DistillConfig"]

# `tune.Tuner("Distill")` finds the class by this name.
tune.register_trainable("Distill", Distill)
