"""What an improvement operator is."""

from typing import Protocol

import numpy as np

from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet


class ImprovementOperator(Protocol):
    """Turns states into reference sets."""

    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Improves on `policy` at a batch of states.

        Args:
          observation: shape `[B, O]`, float32.
          state: simulator states. Shape `[B, S]`.
          policy: the policy to improve on, with its value function.
          generator: source of every random draw.
          policy_version: version of `policy`, stamped on the result.

        Returns:
          A reference set in the mass convention.
        """
        ...
