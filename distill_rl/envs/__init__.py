"""Environments with vector observations and actions in [-1, 1], built from an id, class or function."""

from distill_rl.envs.factory import make_env
from distill_rl.envs.maze2d import register_mazes
from distill_rl.envs.timing import control_timestep_sec
from distill_rl.envs.wrappers import (
    ActionRepeat,
    NormalizedAction,
    VectorObservation,
    action_repeat_of,
    iter_wrappers,
)

__all__ = [
    "ActionRepeat",
    "NormalizedAction",
    "VectorObservation",
    "action_repeat_of",
    "control_timestep_sec",
    "iter_wrappers",
    "make_env",
]

register_mazes()
