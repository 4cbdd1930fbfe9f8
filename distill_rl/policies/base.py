"""What a search asks of a policy: numpy in, numpy out."""

from typing import Protocol

import numpy as np


class SearchPolicy(Protocol):
    """A one-step policy with a value function, called by improvement operators."""

    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        """Draws one action for each observation.

        Args:
          observation: shape `[M, O]`, float32.
          noise_scale: 0 gives the mode-like action, 1 the full distribution.
          generator: source of the noise.

        Returns:
          Actions in [-1, 1]. Shape `[M, A]`, float32.
        """
        ...

    def value(self, observation: np.ndarray) -> np.ndarray:
        """Returns the policy's own value for each observation. Shape `[M]`, float32."""
        ...


class CriticPolicy(SearchPolicy, Protocol):
    """A policy with a value function of actions."""

    def q_value(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Returns the policy's own value of actions. Shapes `[M, O]`, `[M, A]` to `[M]`, float32."""
        ...
