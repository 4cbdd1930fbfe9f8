"""What an objective is, and what it trains."""

from typing import Protocol

import torch
from torch import Tensor

from distill_rl.types import ReferenceSet


class Denoiser(Protocol):
    """A consistency function on noise levels `sigma_min` to `sigma_max`: `ConsistencyPolicy`, for one."""

    sigma_min: float
    sigma_max: float

    def denoise(self, x_sigma: Tensor, sigma: float | Tensor, observation: Tensor) -> Tensor:
        """Evaluates it, see `ConsistencyPolicy.denoise`. Shape `[..., A]`."""
        ...


class Objective(Protocol):
    """A loss of the policy on a batch of reference sets of torch tensors."""

    def __call__(
        self,
        policy: Denoiser,
        target_policy: Denoiser,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the loss.

        Args:
          policy: the policy that learns.
          target_policy: its averaged copy, never differentiated.
          batch: reference sets.
          update: gradient steps taken so far, for schedules.
          generator: source of every random draw.

        Returns:
          The loss. Shape `[]`.
        """
        ...
