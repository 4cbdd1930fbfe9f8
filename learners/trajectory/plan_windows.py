"""Batches of plans from a dataset: windows of states, and how much of each is spent at its end."""

import dataclasses

import numpy as np

from distill_rl.checks import check_at_least_one, check_fraction, check_positive
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.state_limits import StateLimits
from distill_rl.types import Array


@dataclasses.dataclass(frozen=True)
class PlanBatch:
    """Plans, of numpy arrays or torch tensors.

    Attributes:
      plan: scaled states; the first is where a plan starts and the last its goal. Shape `[B, T, S]`, float32.
      goal_return: `(1 - discount) sum_k discount^k r_(t + k)` to the end of the window, with `r = 1` at the
        goal and 0 elsewhere: in [0, 1]. Shape `[B, T]`, float32.
    """

    plan: Array  # [B, T, S]
    goal_return: Array  # [B, T]

    @property
    def ends(self) -> Array:
        """Start and goal, the condition of plans. Shape `[B, 2 S]`."""
        return self.plan[:, [0, -1]].reshape(len(self.plan), -1)


class PlanSampler:
    """Draws windows that lie within an episode, uniformly, with replacement.

    The goal of a window is the state that it ends in, so that every stretch of a walk is a plan.

    Args:
      dataset: to draw from.
      num_steps: `T`, states of a plan.
      limits: by which states are scaled.
      stride: steps from one state of a plan to the next.
      goal_size: leading entries of a state that tell where it is.
      goal_radius: how near the goal counts as there, in the units of states.
      discount: of one step, in `goal_return`; with 0 it is the reward alone.

    Raises:
      ValueError: if a number is out of range, or no episode is as long as a window.
    """

    def __init__(
        self,
        dataset: OfflineDataset,
        num_steps: int,
        limits: StateLimits,
        *,
        stride: int = 1,
        goal_size: int = 2,
        goal_radius: float = 0.5,
        discount: float = 0.0,
    ):
        check_at_least_one("num_steps", num_steps)
        check_at_least_one("stride", stride)
        check_at_least_one("goal_size", goal_size)
        if goal_size > dataset.observations.shape[1]:
            raise ValueError(
                f"`goal_size` must be at most {dataset.observations.shape[1]}, the entries of a state; "
                f"got {goal_size}"
            )
        check_positive("goal_radius", goal_radius)
        check_fraction("discount", discount)
        length = (num_steps - 1) * stride + 1
        starts = [np.arange(steps.start, steps.stop - length + 1) for steps in dataset.episodes()]
        self._rows = np.concatenate(starts)
        if not len(self._rows):
            longest = int(np.diff(dataset.episode_ends, prepend=0).max())
            raise ValueError(f"`dataset` must have an episode of {length} steps or more, got {longest}")
        self._states, self._scaled = dataset.observations, limits.scale(dataset.observations)
        self._offsets = stride * np.arange(num_steps)
        self._goal_size, self._goal_radius, self._discount = goal_size, goal_radius, discount

    def __len__(self) -> int:
        """Returns the number of windows drawn from."""
        return len(self._rows)

    def sample(self, batch_size: int, generator: np.random.Generator) -> PlanBatch:
        """Draws a batch.

        Raises:
          ValueError: if `batch_size` is below 1.
        """
        check_at_least_one("batch_size", batch_size)
        steps = self._rows[generator.integers(len(self._rows), size=batch_size)][:, None] + self._offsets
        places = self._states[steps][..., : self._goal_size]
        is_there = np.linalg.norm(places - places[:, -1:], axis=-1) <= self._goal_radius
        goal_return = np.empty(is_there.shape, np.float32)
        following = np.zeros(batch_size)
        for step in reversed(range(len(self._offsets))):
            following = (1.0 - self._discount) * is_there[:, step] + self._discount * following
            goal_return[:, step] = following
        return PlanBatch(plan=self._scaled[steps], goal_return=goal_return)
