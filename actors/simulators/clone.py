"""Private copies of live environments."""

import copy
import pickle
from typing import Any

import gymnasium as gym
from gymnasium.utils import EzPickle

_COPY_ERRORS = (
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    copy.Error,
    pickle.PicklingError,
)


def clone_env(env: gym.Env, memo: dict[int, Any] | None = None) -> gym.Env:
    """Returns a deep copy of an environment, wrappers and state included.

    `EzPickle` environments, which `copy.deepcopy` would build afresh from their constructor's arguments, are
    copied attribute by attribute.

    Args:
      env: the environment.
      memo: stand-ins for objects that are not to be copied, by `id` (the `memo` of `copy.deepcopy`).

    Raises:
      ValueError: if the environment holds something that cannot be copied.
    """
    memo = {} if memo is None else memo
    base = env.unwrapped
    try:
        if isinstance(base, EzPickle) and not hasattr(base, "__deepcopy__"):
            twin = object.__new__(type(base))
            memo[id(base)] = twin
            vars(twin).update(copy.deepcopy(vars(base), memo))
        return copy.deepcopy(env, memo)
    except _COPY_ERRORS as error:
        raise ValueError(f"`env` must have a state that can be copied, got {env}: {error}") from error
