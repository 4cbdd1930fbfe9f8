"""Experiments that `distill-rl reproduce` runs."""

from distill_rl.cli.experiments.base import SCALES, Experiment
from distill_rl.cli.experiments.learning_curves import LEARNING_CURVES

__all__ = ["EXPERIMENTS", "SCALES", "Experiment"]

EXPERIMENTS: dict[str, Experiment] = {"learning_curves": LEARNING_CURVES}
"""Experiments by name."""
