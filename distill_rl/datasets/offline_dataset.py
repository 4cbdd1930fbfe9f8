"""The one layout of fixed data in memory: whole episodes, one after the other."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.signal import lfilter

from distill_rl.checks import check_at_least_one, check_finite, check_fraction, check_shape
from distill_rl.datasets.behaviour import BehaviourPolicy


@dataclasses.dataclass(frozen=True)
class OfflineDataset:
    """Steps of episodes. Arrays may be memory-mapped files.

    Letters: `N` steps, `E` episodes, `O` observation size, `A` action size.

    Attributes:
      observations: before each step. Shape `[N, O]`, float32.
      actions: normalised to [-1, 1]. Shape `[N, A]`, float32.
      rewards: shape `[N]`, float32.
      next_observations: after each step. Shape `[N, O]`, float32.
      terminals: whether the environment ended the episode there, so that nothing follows. Shape `[N]`, bool.
      is_transition: whether the step is one to learn from by its next observation. Shape `[N]`, bool.
      episode_ends: index after the last step of each episode, rising to `N`. Shape `[E]`, int64.
      metadata: plain JSON values: `name`, `source`, and what else is known (`env`, bounds of the actions).
      has_final_observations: whether the next observations of the last steps of episodes are what followed;
        if not, something else stands there.
      behaviour_log_probs: log-density of each action under the policy that took it. Shape `[N]`, float32.
      behaviour_policy: that policy itself.
    """

    observations: np.ndarray  # [N, O]
    actions: np.ndarray  # [N, A]
    rewards: np.ndarray  # [N]
    next_observations: np.ndarray  # [N, O]
    terminals: np.ndarray  # [N]
    is_transition: np.ndarray  # [N]
    episode_ends: np.ndarray  # [E]
    metadata: dict[str, Any]
    has_final_observations: bool = True
    behaviour_log_probs: np.ndarray | None = None  # [N]
    behaviour_policy: BehaviourPolicy | None = None

    def __len__(self) -> int:
        """Returns the number of steps."""
        return len(self.rewards)

    @property
    def num_episodes(self) -> int:
        """Number of episodes `E`."""
        return len(self.episode_ends)

    @property
    def episode_starts(self) -> np.ndarray:
        """Index of the first step of each episode. Shape `[E]`."""
        return np.concatenate([[0], self.episode_ends[:-1]])

    @property
    def transition_rows(self) -> np.ndarray:
        """Steps that are transitions. Shape `[T]`."""
        return np.flatnonzero(self.is_transition)

    def validate(self) -> "OfflineDataset":
        """Checks everything that can be wrong, and returns the dataset itself.

        Raises:
          ValueError: naming the array, what was expected and what came.
        """
        self.check_layout()
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            if array is not None and dtype == np.float32:
                check_finite(name, array)
        largest = float(np.abs(self.actions).max())
        if largest > 1.0 + 1e-5:
            raise ValueError(f"`actions` must lie in [-1, 1], got a component of magnitude {largest:.6g}")
        inside = np.setdiff1d(np.flatnonzero(self.terminals), self.episode_ends - 1)
        if len(inside):
            raise ValueError(f"`terminals` must be at ends of episodes only, got one at step {inside[0]}")
        return self

    def check_layout(self) -> None:
        """Checks shapes, dtypes, the order of episodes and the metadata: what is seen without reading it all.

        Raises:
          ValueError: naming the array, what was expected and what came.
        """
        check_shape("observations", self.observations, (None, None))
        num_steps, observation_size = self.observations.shape
        if num_steps == 0:
            raise ValueError("`observations` must hold at least one step, got none")
        check_shape("actions", self.actions, (num_steps, None))
        check_shape("next_observations", self.next_observations, (num_steps, observation_size))
        for name in ("rewards", "terminals", "is_transition"):
            check_shape(name, getattr(self, name), (num_steps,))
        if self.behaviour_log_probs is not None:
            check_shape("behaviour_log_probs", self.behaviour_log_probs, (num_steps,))
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            if array is not None and array.dtype != dtype:
                raise ValueError(f"`{name}` must have dtype {np.dtype(dtype)}, got {array.dtype}")
        if self.behaviour_policy is not None:
            self.behaviour_policy.check_sizes(observation_size, self.actions.shape[1])
        ends = self.episode_ends
        if not len(ends) or ends[0] < 1 or (np.diff(ends) < 1).any() or ends[-1] != num_steps:
            raise ValueError(f"`episode_ends` must rise from at least 1 to {num_steps}, got {ends}")
        for key in ("name", "source"):
            if not isinstance(self.metadata.get(key), str):
                raise ValueError(f"`metadata` must have a text {key!r}, got {self.metadata.get(key)!r}")

    def episodes(self) -> Iterator[slice]:
        """Yields the steps of each episode."""
        for start, stop in zip(self.episode_starts.tolist(), self.episode_ends.tolist(), strict=True):
            yield slice(start, stop)

    def episode_returns(self) -> np.ndarray:
        """Returns the undiscounted return of each episode. Shape `[E]`, float64."""
        return np.add.reduceat(np.asarray(self.rewards, np.float64), self.episode_starts)

    def returns_to_go(self, discount: float = 1.0) -> np.ndarray:
        """Returns `sum_{k >= t} discount^(k - t) r_k` to the end of the episode. Shape `[N]`, float32.

        Raises:
          ValueError: if the discount is not within [0, 1].
        """
        check_fraction("discount", discount)
        returns = np.empty(len(self), np.float32)
        for steps in self.episodes():
            backwards = np.asarray(self.rewards[steps], np.float64)[::-1]
            returns[steps] = lfilter([1.0], [1.0, -discount], backwards)[::-1]
        return returns

    def windows(self, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the steps of windows that do not leave their episode.

        Args:
          rows: first steps. Shape `[B]`.
          length: steps of a window.

        Returns:
          Steps `[B, length]`, the last one of an episode repeated beyond its end, and which of them are
          inside it `[B, length]`, bool.

        Raises:
          ValueError: if `length` is below 1 or a row is not a step.
        """
        check_at_least_one("length", length)
        rows = np.asarray(rows)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise ValueError(f"`rows` must be within 0 to {len(self) - 1}, got {rows.min()} to {rows.max()}")
        ends = self.episode_ends[np.searchsorted(self.episode_ends, rows, side="right")]
        steps = rows[:, None] + np.arange(length)
        return np.minimum(steps, ends[:, None] - 1), steps < ends[:, None]


_DTYPES: dict[str, Any] = {
    "observations": np.float32,
    "actions": np.float32,
    "rewards": np.float32,
    "next_observations": np.float32,
    "terminals": np.bool_,
    "is_transition": np.bool_,
    "episode_ends": np.int64,
    "behaviour_log_probs": np.float32,
}

ARRAYS = tuple(_DTYPES)
"""Names of the arrays; the last one may be missing."""


def normalize_actions(
    actions: np.ndarray, low: np.ndarray, high: np.ndarray, log_probs: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Maps actions from their bounds to [-1, 1]: `2 (a - low) / (high - low) - 1`.

    Args:
      actions: shape `[N, A]`.
      low: shape `[A]`.
      high: shape `[A]`.
      log_probs: their log-densities, if known. Shape `[N]`.

    Returns:
      Actions, and log-densities of the mapped ones: plus `sum log((high - low) / 2)`. Float32.

    Raises:
      ValueError: if a bound is not finite or `low` is not below `high`.
    """
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ValueError(f"`low` must be below `high`, and both finite, got {low} and {high}")
    half = 0.5 * (np.asarray(high, np.float64) - low)
    mapped = ((actions - low) / half - 1.0).astype(np.float32)
    if log_probs is None:
        return mapped, None
    return mapped, (log_probs + np.log(half).sum()).astype(np.float32)
