"""Records what happens to an environment, whoever acts in it."""

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from actors.step_log import StepLog
from actors.stepping import EnvStep


class StepRecorder(gym.Wrapper):
    """Adds every step of an environment to a log, and changes nothing.

    Goes around an environment of `make_env`, so that observations are vectors and actions in [-1, 1].
    Snapshots see through it: simulators read the innermost environment, and copies that they make of an
    environment record nothing. A step whose physics failed (an exception, or a number that is not finite) is
    no data: its episode ends before it.
    """

    def __init__(self, env: gym.Env, log: StepLog):
        """Wraps an environment.

        Args:
          env: of `make_env`.
          log: where its steps go, beside those of other environments.
        """
        super().__init__(env)
        # A method, which simulators do not take for a part of the environment's state; None in copies.
        self._add_fn: Callable[..., int] | None = log.add
        self._episode: int | None = None
        self._observation: np.ndarray | None = None  # [O]

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Resets the environment; the next step starts an episode."""
        observation, info = self.env.reset(**kwargs)
        self._episode, self._observation = None, np.asarray(observation, np.float32)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment, and records the step. Shape of actions: `[A]`."""
        before, self._observation = self._observation, None
        observation, reward, terminated, truncated, info = self.env.step(action)
        step = EnvStep(np.asarray(observation, np.float32), float(reward), bool(terminated), bool(truncated))
        is_sound = np.isfinite(step.reward) and bool(np.isfinite(step.observation).all())
        if self._add_fn is not None and before is not None and is_sound:
            self._episode = self._add_fn(self._episode, before, action, step)
            self._observation = step.observation
        return observation, reward, terminated, truncated, info

    def __deepcopy__(self, memo: dict[int, Any]) -> "StepRecorder":
        """Returns a copy that records nothing."""
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        state = vars(self) | {"_add_fn": None}
        vars(twin).update({name: copy.deepcopy(value, memo) for name, value in state.items()})
        return twin
