"""Wrappers that give environments one interface: vector observations, actions in [-1, 1], action repeat."""

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

_UNBOUNDED = 1e9
"""Bounds from here on mean none: dm_control writes 1e10, and other environments the largest float."""


class ActionRepeat(gym.Wrapper):
    """Takes every action several times, adds the rewards up, and stops where the episode ends.

    Attributes:
      action_repeat: how often an action is taken.
    """

    def __init__(self, env: gym.Env, action_repeat: int):
        """Wraps an environment.

        Raises:
          ValueError: if `action_repeat` is not a positive integer.
        """
        if isinstance(action_repeat, bool) or not isinstance(action_repeat, int) or action_repeat < 1:
            raise ValueError(f"`action_repeat` must be a positive integer, got {action_repeat!r}")
        super().__init__(env)
        self.action_repeat = action_repeat

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps up to `action_repeat` times; returns the last observation and the summed rewards.

        Shape of actions: `[A]`.
        """
        total = 0.0
        for _ in range(self.action_repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class VectorObservation(gym.ObservationWrapper):
    """Flattens observations, dictionaries included, to one float32 vector.

    The items of a dictionary keep the environment's own order: that of `observation_spec()` in dm_control
    (Gymnasium's `Dict` space would sort them), else that of the space.

    Attributes:
      last_observation: what the last `reset` or `step` returned, None before. Shape `[O]`.
    """

    def __init__(self, env: gym.Env, keys: Sequence[str] | None = None):
        """Wraps an environment.

        Args:
          env: the environment.
          keys: the items of dictionary observations to take, in this order; None for all of them.

        Raises:
          ValueError: if observations are images or hold anything but arrays of numbers, or lack a key.
        """
        super().__init__(env)
        self._keys = _ordered_keys(env) if keys is None else list(keys)
        size = _vector_size("observation", _taken_space(env.observation_space, keys))
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.last_observation: np.ndarray | None = None

    def observation(self, observation: Any) -> np.ndarray:
        """Returns the observation as a vector. Shape `[O]`, float32."""
        taken = observation if self._keys is None else {key: observation[key] for key in self._keys}
        self.last_observation = flatten(taken).astype(np.float32)
        return self.last_observation


class NormalizedAction(gym.ActionWrapper):
    """Takes actions in [-1, 1] and hands the environment `(action + 1) / 2 * (high - low) + low`.

    The action is rounded to float32 first. Where the environment's own bounds are [-1, 1] it is passed on as
    it is; elsewhere the map is computed in the dtype of the environment's action space.
    """

    def __init__(self, env: gym.Env):
        """Wraps an environment.

        Raises:
          ValueError: if its actions are not a bounded vector of real numbers.
        """
        box = _check_action_space(env.action_space)
        super().__init__(env)
        self._low, self._high = box.low, box.high
        self._is_identity = bool(np.all(self._low == -1.0) and np.all(self._high == 1.0))
        self.action_space = spaces.Box(-1.0, 1.0, box.shape, np.float32)

    def action(self, action: np.ndarray) -> np.ndarray:
        """Returns the environment's action, for any leading dimensions. Shape `[..., A]`."""
        action = np.asarray(action, np.float32)
        if self._is_identity:
            return action
        return (action + 1) / 2 * (self._high - self._low) + self._low


def iter_wrappers(env: gym.Env) -> Iterator[gym.Wrapper]:
    """Yields the wrappers of an environment, outermost first."""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env


def action_repeat_of(env: gym.Env) -> int:
    """Returns how often the wrappers repeat an action: the product of their `action_repeat` attributes."""
    repeat = 1
    for wrapper in iter_wrappers(env):
        repeat *= int(vars(wrapper).get("action_repeat", 1))
    return repeat


def _check_action_space(space: spaces.Space) -> spaces.Box:
    if (
        not isinstance(space, spaces.Box)
        or len(space.shape) != 1
        or not np.issubdtype(space.dtype, np.floating)
    ):
        raise ValueError(f"`action_space` must be a continuous vector (a Box of shape [A]), got {space}")
    if not max(np.abs(space.low).max(), np.abs(space.high).max()) < _UNBOUNDED:
        raise ValueError(f"`action_space` must be bounded on both sides, got {space}")
    return space


def _ordered_keys(env: gym.Env) -> list[str] | None:
    """Returns the keys of dictionary observations in the environment's own order; None for other ones."""
    if not isinstance(env.observation_space, spaces.Dict):
        return None
    observation_spec = getattr(env.unwrapped, "observation_spec", None)
    spec = observation_spec() if callable(observation_spec) else {}
    is_own = set(spec) == set(env.observation_space.spaces)
    return list(spec if is_own else env.observation_space.spaces)


def _taken_space(space: spaces.Space, keys: Sequence[str] | None) -> spaces.Space:
    if keys is None:
        return space
    if not isinstance(space, spaces.Dict) or not set(keys) <= set(space.spaces):
        raise ValueError(f"`observation_keys` must be keys of the observation {space}, got {list(keys)}")
    return spaces.Dict({key: space[key] for key in keys})


def _vector_size(name: str, space: spaces.Space) -> int:
    """Returns how many numbers an observation holds, and refuses what is no array of numbers or an image."""
    if isinstance(space, spaces.Dict):
        return sum(_vector_size(f"{name}[{key!r}]", item) for key, item in space.spaces.items())
    if not isinstance(space, spaces.Box):
        raise ValueError(f"`{name}` must be an array of numbers (a Box), got {space}")
    num_axes = sum(length > 1 for length in space.shape)
    if num_axes > 2 or (num_axes == 2 and space.dtype == np.uint8):
        raise ValueError(
            f"`{name}` must be a vector, got an image of shape {list(space.shape)} and {space.dtype}"
        )
    return int(np.prod(space.shape, dtype=int))


def flatten(observation: Any) -> np.ndarray:
    """Returns the arrays of an observation, items of dictionaries included, as one vector. Shape `[O]`."""
    return np.concatenate(_leaves(observation))


def _leaves(observation: Any) -> list[np.ndarray]:
    """Returns the arrays of an observation, each raveled, in order."""
    if isinstance(observation, dict):
        return [leaf for item in observation.values() for leaf in _leaves(item)]
    return [np.ravel(observation)]
