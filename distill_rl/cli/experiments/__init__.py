"""Experiments that `distill-rl reproduce` runs."""

from distill_rl.cli.experiments.base import SCALES, Experiment
from distill_rl.cli.experiments.cm_ppo import CM_PPO
from distill_rl.cli.experiments.consistency_rl import CONSISTENCY_RL
from distill_rl.cli.experiments.learned_model import LEARNED_MODEL
from distill_rl.cli.experiments.learning_curves import LEARNING_CURVES
from distill_rl.cli.experiments.maze2d import MAZE2D
from distill_rl.cli.experiments.mode_selection import MODE_SELECTION
from distill_rl.cli.experiments.planning import PLANNING
from distill_rl.cli.experiments.ractd import RACTD_EXPERIMENT
from distill_rl.cli.experiments.reward_weight import REWARD_WEIGHT
from distill_rl.cli.experiments.sampler_timing import SAMPLER_TIMING
from distill_rl.cli.experiments.table1 import TABLE1

__all__ = ["EXPERIMENTS", "SCALES", "Experiment"]

EXPERIMENTS: dict[str, Experiment] = {
    "cm_ppo": CM_PPO,
    "consistency_rl": CONSISTENCY_RL,
    "learned_model": LEARNED_MODEL,
    "learning_curves": LEARNING_CURVES,
    "maze2d": MAZE2D,
    "mode_selection": MODE_SELECTION,
    "planning": PLANNING,
    "ractd": RACTD_EXPERIMENT,
    "reward_weight": REWARD_WEIGHT,
    "sampler_timing": SAMPLER_TIMING,
    "table1": TABLE1,
}
"""Experiments by name."""
