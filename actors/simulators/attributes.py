"""Copies of the Python attributes in which an environment keeps state beside its physics."""

import copy
import functools
import types
from typing import Any

import dm_env
import gymnasium as gym
import mujoco
import numpy as np
from dm_control.rl import control as dm_control_rl
from gymnasium.envs.registration import EnvSpec

from actors.simulators.dm_control_task import dm_control_environment
from distill_rl.envs import iter_wrappers

Attributes = list[dict[str, Any]]
"""The attributes of each object that holds some, by name."""

_CONSTRUCTION = (
    "_ezpickle_args",
    "_ezpickle_kwargs",
    "_saved_kwargs",
    "_cached_spec",
    "default_camera_config",
)
_DESCRIPTION = ("_metadata", "metadata", "observation_structure")
_RENDERING = ("render_mode", "mujoco_renderer", "viewer")
_TIME_LIMITS = ("_max_episode_steps", "_step_limit")
_CONSTANT_NAMES = frozenset((*_CONSTRUCTION, *_DESCRIPTION, *_RENDERING, *_TIME_LIMITS, "last_observation"))

_ENV_PARTS = (gym.Env, gym.Space, EnvSpec, dm_env.Environment, dm_control_rl.Physics, dm_control_rl.Task)
_MUJOCO = (mujoco.MjModel, mujoco.MjData)
_RANDOM = (np.random.Generator, np.random.RandomState)
_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_CONSTANT_TYPES = (*_ENV_PARTS, *_MUJOCO, *_RANDOM, *_CODE)
_IMMUTABLE_TYPES = (int, float, complex, str, bytes, type(None), np.generic)


def attribute_holders(env: gym.Env) -> Attributes:
    """Returns the live attributes of the wrappers, the environment, and dm_control's environment and task."""
    holders = [vars(wrapper) for wrapper in iter_wrappers(env)] + [vars(env.unwrapped)]
    environment = dm_control_environment(env)
    if environment is not None:
        holders += [vars(environment), vars(environment.task)]
    return holders


def copy_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Returns copies of the attributes that a step can change.

    Spaces, models, functions, random generators and what the environment was built from are left out.
    """
    return {
        name: _copy_value(value)
        for name, value in attributes.items()
        if name not in _CONSTANT_NAMES and not _is_constant(type(value))  # type: ignore[arg-type]
    }


@functools.cache
def _is_constant(kind: type) -> bool:
    return issubclass(kind, _CONSTANT_TYPES)


@functools.cache
def _is_immutable(kind: type) -> bool:
    return issubclass(kind, _IMMUTABLE_TYPES)


def _copy_value(value: Any) -> Any:
    if _is_immutable(type(value)):  # type: ignore[arg-type]
        return value
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    return copy.deepcopy(value)
