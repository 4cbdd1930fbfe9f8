"""Builds environments from ids, classes and functions."""

import importlib
import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym

from distill_rl.checks import nearest
from distill_rl.envs.wrappers import ActionRepeat, NormalizedAction, VectorObservation


def make_env(
    env: str | Callable[..., gym.Env], *, action_repeat: int = 1, env_config: dict[str, Any] | None = None
) -> gym.Env:
    """Builds an environment with float32 vector observations and actions in [-1, 1].

    Args:
      env: a Gymnasium id (`Hopper-v5`, `dm_control/cheetah-run-v0`, `module:Id-v0`), or a class or function
        that returns an environment.
      action_repeat: how often every action is taken; rewards are added up.
      env_config: keyword arguments of `gymnasium.make` (which hands unknown ones to the environment), or of
        the class or function; `observation_keys` are those of dictionary observations to take, in order.

    Returns:
      The environment. `unwrapped` reaches the innermost one.

    Raises:
      ValueError: if the id is not registered, `env_config` has a key the environment does not take, actions
        are not a bounded continuous vector, observations are no vector, or `action_repeat` is not positive.
    """
    config = dict(env_config or {})
    keys = config.pop("observation_keys", None)
    name = env if isinstance(env, str) else getattr(env, "__name__", repr(env))
    try:
        base = _make_registered(env, config) if isinstance(env, str) else _call(env, config)
    except TypeError as error:
        _raise_if_unknown_key(name, config, error)
        raise
    try:
        return NormalizedAction(VectorObservation(ActionRepeat(base, action_repeat), keys))
    except ValueError as error:
        base.close()
        raise ValueError(f"environment {name!r}: {error}") from None


def _make_registered(env_id: str, config: dict[str, Any]) -> gym.Env:
    if env_id not in gym.registry and ":" not in env_id:
        importlib.import_module("shimmy")  # registers the dm_control ids
        if env_id not in gym.registry:
            raise ValueError(f"`env` must be a registered environment, got {env_id!r}{_nearest_id(env_id)}")
    return gym.make(env_id, **{"disable_env_checker": True, **config})


def _call(factory: Callable[..., gym.Env], config: dict[str, Any]) -> gym.Env:
    if not callable(factory):
        raise ValueError(
            f"`env` must be an id, a class or a function, got an object of {type(factory).__name__}"
        )
    env = factory(**config)
    if not isinstance(env, gym.Env):
        raise ValueError(f"`env` must return a gymnasium.Env, got an object of {type(env).__name__}")
    return env


def _nearest_id(env_id: str) -> str:
    """Returns `" (did you mean 'x'?)"` for the registered id closest to `env_id`, or an empty string.

    Ids that contain the given one come first, short and new ones before others: `Hopper` is near `Hopper-v5`.
    """
    containing = [known for known in gym.registry if env_id and env_id.lower() in known.lower()]
    if containing:
        return f" (did you mean {max(containing, key=lambda known: (-len(known), known))!r}?)"
    return nearest(env_id, gym.registry)


def _raise_if_unknown_key(name: str, config: dict[str, Any], error: TypeError) -> None:
    """Raises a `ValueError` that names the key, if `error` says that a key of `config` was not expected."""
    match = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if match is not None and match[1] in config:
        raise ValueError(f"`env_config` of {name!r} has an unknown key {match[1]!r}") from error
