"""The range of states in data, by which plans are scaled."""

import dataclasses

import numpy as np

from distill_rl.checks import check_shape
from distill_rl.datasets.offline_dataset import OfflineDataset

_MIN_RANGE = 1e-6


@dataclasses.dataclass(frozen=True)
class StateLimits:
    """Maps states to [-1, 1] and back, entry by entry: `2 (s - low) / (high - low) - 1`.

    Source: Janner et al. (2022), "Planning with diffusion for flexible behavior synthesis"; its released code
    scales the states of mazes so.

    Attributes:
      low: smallest value of each entry. Shape `[S]`.
      high: largest one. Shape `[S]`.

    Raises:
      ValueError: if the shapes disagree, or `high` does not exceed `low`.
    """

    low: np.ndarray  # [S]
    high: np.ndarray  # [S]

    def __post_init__(self) -> None:
        check_shape("low", self.low, (None,))
        check_shape("high", self.high, self.low.shape)
        if not (self.high - self.low >= _MIN_RANGE).all():
            raise ValueError(f"`high` must exceed `low` = {self.low}, got {self.high}")

    @classmethod
    def of(cls, dataset: OfflineDataset) -> "StateLimits":
        """Returns the limits of the observations of a dataset.

        Raises:
          ValueError: if an entry of the observations never changes.
        """
        return cls(low=dataset.observations.min(axis=0), high=dataset.observations.max(axis=0))

    def scale(self, states: np.ndarray) -> np.ndarray:
        """Maps states to [-1, 1]. Shape `[..., S]`, float32."""
        scaled: np.ndarray = 2.0 * (states - self.low) / (self.high - self.low) - 1.0
        return scaled.astype(np.float32)

    def restore(self, scaled: np.ndarray) -> np.ndarray:
        """Maps scaled states back. Shape `[..., S]`, float32."""
        states: np.ndarray = 0.5 * (scaled + 1.0) * (self.high - self.low) + self.low
        return states.astype(np.float32)
