"""What every policy of single actions has: `sample`, and `act` without gradients."""

import abc

import torch
from torch import nn


class GenerativePolicy(nn.Module, abc.ABC):
    """Draws actions, normalised to [-1, 1], from observations and noise.

    Attributes:
      observation_size: `O`.
      action_size: `A`.
    """

    observation_size: int
    action_size: int

    @abc.abstractmethod
    def sample(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws actions, differentiably.

        Args:
          observation: shape `[..., O]`.
          num_steps: network calls, of policies that leave the choice.
          noise_scale: factor on all noise: 0 gives the mode-like action, 1 the full distribution.
          generator: source of the noise; torch's global one by default.

        Returns:
          Actions in [-1, 1]. Shape `[..., A]`.

        Raises:
          ValueError: if `num_steps` is below 1 where it counts, or `noise_scale` is negative.
        """

    @torch.no_grad()
    def act(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws actions without gradients; see `sample`. Shapes `[..., O]` to `[..., A]`."""
        return self.sample(observation, num_steps, noise_scale, generator)
