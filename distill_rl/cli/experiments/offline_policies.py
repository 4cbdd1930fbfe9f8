"""What an experiment asks of a policy that was learned from a dataset."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from actors.evaluation import EvaluationResult, evaluate_policy

_NUM_TIMED_ACTIONS = 200


class OfflinePolicy(Protocol):
    """Acts."""

    def evaluate(self, envs: list[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        """Runs whole episodes."""
        ...

    def time_action(self) -> float:
        """Returns cpu-milliseconds of one action for one state."""
        ...


class StatelessPolicy:
    """Acts on observations alone.

    Args:
      act_fn: observations `[M, O]` to actions `[M, A]`.
      observation: one, to time an action with. Shape `[1, O]`.
    """

    def __init__(self, act_fn: Callable[[np.ndarray], np.ndarray], observation: np.ndarray):
        self._act_fn, self._observation = act_fn, observation

    def evaluate(self, envs: list[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        """Runs whole episodes."""
        return evaluate_policy(self._act_fn, envs, num_episodes, seed)

    def time_action(self) -> float:
        """Returns cpu-milliseconds of one action for one state."""
        return time_actions(lambda: self._act_fn(self._observation))


def time_actions(act_fn: Callable[[], Any]) -> float:
    """Returns the mean cpu-milliseconds of a call, after one that does not count."""
    act_fn()
    start = time.process_time()
    for _ in range(_NUM_TIMED_ACTIONS):
        act_fn()
    return 1e3 * (time.process_time() - start) / _NUM_TIMED_ACTIONS
