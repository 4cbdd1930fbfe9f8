"""What an objective is."""

from typing import Protocol

import torch

from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.types import ReferenceSet


class Objective(Protocol):
    """A loss of the policy on a batch of reference sets of torch tensors."""

    def __call__(
        self,
        policy: ConsistencyPolicy,
        target_policy: ConsistencyPolicy,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> torch.Tensor:
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
