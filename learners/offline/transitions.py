"""Batches of transitions from a dataset."""

import dataclasses

import numpy as np

from distill_rl.checks import check_at_least_one, check_choice
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.types import Array, ReferenceSet
from learners.offline.config import REWARD_TRANSFORMS

_CHUNK_STEPS = 65_536


@dataclasses.dataclass(frozen=True)
class TransitionBatch:
    """Single steps, of numpy arrays or torch tensors.

    Attributes:
      observation: shape `[B, O]`, float32.
      action: in [-1, 1]. Shape `[B, A]`, float32.
      reward: as the learner sees it. Shape `[B]`, float32.
      next_observation: shape `[B, O]`, float32.
      is_terminal: 1 where the environment ended the episode, else 0. Shape `[B]`, float32.
    """

    observation: Array  # [B, O]
    action: Array  # [B, A]
    reward: Array  # [B]
    next_observation: Array  # [B, O]
    is_terminal: Array  # [B]


class TransitionSampler:
    """Draws transitions uniformly, with replacement.

    Only rewards, indices and flags of the transitions are held in memory; the rest is read where it lies.

    Args:
      dataset: with at least one transition.
      reward_transform: `none`, `antmaze` (`(r - 0.5) 4`, Kumar et al., 2020, "CQL") or `standardize`.
      rank: of the learner among those that share the work, which draws from every `num_ranks`-th transition.
      num_ranks: number of those learners.

    Raises:
      ValueError: if a transform is unknown or there is no transition.
    """

    def __init__(
        self, dataset: OfflineDataset, reward_transform: str = "none", rank: int = 0, num_ranks: int = 1
    ):
        check_choice("reward_transform", reward_transform, REWARD_TRANSFORMS)
        rows = dataset.transition_rows
        if len(rows) < num_ranks:
            raise ValueError(f"`dataset` must have {num_ranks} transitions or more, got {len(rows)}")
        rewards = np.asarray(dataset.rewards)[rows]
        if reward_transform == "antmaze":
            rewards = (rewards - 0.5) * 4.0
        elif reward_transform == "standardize":
            rewards = (rewards - rewards.mean()) / max(float(rewards.std()), 1e-6)
        self._dataset = dataset
        self._rows = rows[rank::num_ranks]
        self._rewards = rewards[rank::num_ranks].astype(np.float32)
        self._is_terminal = np.asarray(dataset.terminals)[self._rows].astype(np.float32)

    def __len__(self) -> int:
        """Returns the number of transitions drawn from."""
        return len(self._rows)

    def sample(self, batch_size: int, generator: np.random.Generator) -> TransitionBatch:
        """Draws a batch.

        Raises:
          ValueError: if `batch_size` is below 1.
        """
        check_at_least_one("batch_size", batch_size)
        index = generator.integers(len(self._rows), size=batch_size)
        rows = self._rows[index]
        dataset = self._dataset
        return TransitionBatch(
            observation=dataset.observations[rows],
            action=dataset.actions[rows],
            reward=self._rewards[index],
            next_observation=dataset.next_observations[rows],
            is_terminal=self._is_terminal[index],
        )


def last_transitions(reference_set: ReferenceSet) -> TransitionBatch:
    """Returns the step that was taken in each state of a reference set.

    Args:
      reference_set: whose `episode_steps` are single steps.

    Raises:
      ValueError: if it has none, or longer ones.
    """
    steps = reference_set.episode_steps
    if steps is None or steps.reward.shape[1] != 1:
        got = "none" if steps is None else f"{steps.reward.shape[1]} steps"
        raise ValueError(f"`episode_steps` must hold one step for each state, got {got}")
    return TransitionBatch(
        observation=steps.observation[:, 0],
        action=steps.action[:, 0],
        reward=steps.reward[:, 0],
        next_observation=steps.observation[:, 1],
        is_terminal=1.0 - steps.discount[:, 0],
    )


def observation_statistics(dataset: OfflineDataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of all observations, read in pieces. Shapes `[O]`, float64."""
    num_steps, size = dataset.observations.shape
    total, total_squared = np.zeros(size), np.zeros(size)
    center = np.asarray(dataset.observations[0], np.float64)  # against cancellation
    for start in range(0, num_steps, _CHUNK_STEPS):
        chunk = np.asarray(dataset.observations[start : start + _CHUNK_STEPS], np.float64) - center
        total += chunk.sum(axis=0)
        total_squared += (chunk**2).sum(axis=0)
    mean = total / num_steps
    return center + mean, np.maximum(total_squared / num_steps - mean**2, 0.0)
