"""Batches of action sequences from a dataset, with the states that they start in and what they came to."""

import dataclasses

import numpy as np

from distill_rl.checks import check_at_least_one
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.types import Array


@dataclasses.dataclass(frozen=True)
class ChunkBatch:
    """Action sequences, of numpy arrays or torch tensors.

    Attributes:
      observation: before the first action. Shape `[B, O]`, float32.
      actions: in [-1, 1]; the last one of an episode is repeated beyond its end. Shape `[B, T, A]`, float32.
      return_to_go: discounted sum of rewards from the first action to the end of the episode, normalised over
        the dataset. Shape `[B]`, float32.
    """

    observation: Array  # [B, O]
    actions: Array  # [B, T, A]
    return_to_go: Array  # [B]


class ChunkSampler:
    """Draws first steps uniformly, with replacement.

    Returns to go are held in memory; the rest is read where it lies.

    Args:
      dataset: with at least one step.
      num_steps: `T`, actions of a sequence.
      discount: of one step.
      termination_penalty: taken off the reward of steps that terminate an episode. Source: Janner et al.
        (2022), "Planning with diffusion", whose released code has 100.
      rank: of the learner among those that share the work, which draws from every `num_ranks`-th step.
      num_ranks: number of those learners.

    Raises:
      ValueError: if `num_steps` is below 1, the discount is not within [0, 1], or there is no step.
    """

    def __init__(
        self,
        dataset: OfflineDataset,
        num_steps: int,
        discount: float = 0.99,
        termination_penalty: float = 0.0,
        rank: int = 0,
        num_ranks: int = 1,
    ):
        check_at_least_one("num_steps", num_steps)
        if len(dataset) < num_ranks:
            raise ValueError(f"`dataset` must have {num_ranks} steps or more, got {len(dataset)}")
        self._dataset, self.num_steps = dataset, num_steps
        rewards = np.asarray(dataset.rewards, np.float32) - termination_penalty * np.asarray(
            dataset.terminals
        )
        penalised = dataclasses.replace(dataset, rewards=rewards.astype(np.float32))
        returns = penalised.returns_to_go(discount)
        self.return_mean, self.return_scale = float(returns.mean()), max(float(returns.std()), 1e-6)
        self._rows = np.arange(rank, len(dataset), num_ranks)
        self._returns = (returns - self.return_mean) / self.return_scale

    def __len__(self) -> int:
        """Returns the number of first steps drawn from."""
        return len(self._rows)

    def sample(self, batch_size: int, generator: np.random.Generator) -> ChunkBatch:
        """Draws a batch.

        Raises:
          ValueError: if `batch_size` is below 1.
        """
        check_at_least_one("batch_size", batch_size)
        rows = self._rows[generator.integers(len(self._rows), size=batch_size)]
        steps, _ = self._dataset.windows(rows, self.num_steps)
        return ChunkBatch(
            observation=self._dataset.observations[rows],
            actions=self._dataset.actions[steps],
            return_to_go=self._returns[rows],
        )
