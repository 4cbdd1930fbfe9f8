"""Steps of episodes as they are taken, kept to become a dataset."""

from typing import Any

import numpy as np

from actors.stepping import EnvStep
from distill_rl.datasets.offline_dataset import OfflineDataset

_FIRST_CAPACITY = 1_024


class StepLog:
    """Keeps steps in the order in which they were taken, those of several running episodes interleaved.

    Letters: `N` steps, `O` observation size, `A` action size.

    Attributes:
      num_episodes: episodes so far, running ones included.
    """

    def __init__(self, observation_size: int, action_size: int):
        """Starts empty.

        Args:
          observation_size: `O`.
          action_size: `A`.
        """
        self.num_episodes = 0
        self._num_steps = 0
        vector, action = (observation_size,), (action_size,)
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "episodes": ((), np.int64),
            "observations": (vector, np.float32),
            "actions": (action, np.float32),
            "rewards": ((), np.float32),
            "next_observations": (vector, np.float32),
            "terminals": ((), np.bool_),
            "log_probs": ((), np.float32),
        }
        self._columns = {
            name: np.empty((_FIRST_CAPACITY, *shape), dtype) for name, (shape, dtype) in shapes.items()
        }

    def __len__(self) -> int:
        """Returns the number of steps so far."""
        return self._num_steps

    def add(
        self,
        episode: int | None,
        observation: np.ndarray,
        action: np.ndarray,
        step: EnvStep,
        log_prob: float = np.nan,
    ) -> int:
        """Adds a step.

        Args:
          episode: number of its episode; None starts a new one.
          observation: before the step. Shape `[O]`.
          action: in [-1, 1]. Shape `[A]`.
          step: what followed.
          log_prob: log-density of the action under the policy that took it; NaN where it is not known.

        Returns:
          The number of its episode.
        """
        if episode is None:
            episode = self.num_episodes
            self.num_episodes += 1
        row = {
            "episodes": episode,
            "observations": observation,
            "actions": action,
            "rewards": step.reward,
            "next_observations": step.observation,
            "terminals": step.terminated,
            "log_probs": log_prob,
        }
        if self._num_steps == len(self._columns["episodes"]):
            self._columns = {n: np.concatenate([c, np.empty_like(c)]) for n, c in self._columns.items()}
        for name, column in self._columns.items():
            column[self._num_steps] = row[name]
        self._num_steps += 1
        return episode

    def episode_lengths(self) -> np.ndarray:
        """Returns the steps of each episode so far. Shape `[num_episodes]`, int64."""
        return np.bincount(self._columns["episodes"][: self._num_steps], minlength=self.num_episodes)

    def to_dataset(
        self,
        metadata: dict[str, Any],
        *,
        num_steps: int | None = None,
        num_episodes: int | None = None,
    ) -> OfflineDataset:
        """Returns the steps as a dataset: episodes in the order in which they started.

        What followed every step is known, so that all steps are transitions. An episode that is cut off, by
        a time limit, an early reset or `num_steps`, ends without a terminal.

        Args:
          metadata: of the dataset, see `OfflineDataset`.
          num_steps: take only this many steps, the first ones; None for all.
          num_episodes: take only the first episodes; None for all.

        Returns:
          The dataset, with log-densities if those of all steps are known.

        Raises:
          ValueError: if there is no step.
        """
        columns = {name: column[: self._num_steps][:num_steps] for name, column in self._columns.items()}
        rows = np.argsort(columns["episodes"], kind="stable")
        if num_episodes is not None:
            rows = rows[columns["episodes"][rows] < num_episodes]
        if not len(rows):
            raise ValueError("`num_steps` and `num_episodes` must leave at least one step, got none")
        sorted_columns: dict[str, Any] = {name: column[rows] for name, column in columns.items()}
        episodes, log_probs = sorted_columns.pop("episodes"), sorted_columns.pop("log_probs")
        ends = np.append(np.flatnonzero(np.diff(episodes)) + 1, len(rows))
        return OfflineDataset(
            **sorted_columns,
            is_transition=np.ones(len(rows), bool),
            episode_ends=ends.astype(np.int64),
            metadata=metadata,
            behaviour_log_probs=None if np.isnan(log_probs).any() else log_probs,
        ).validate()
