"""A policy of one Gaussian for each observation: the baseline that has no second mode."""

import math

import torch
from torch import nn

from distill_rl.networks.backbones import make_backbone
from distill_rl.networks.normalizer import RunningNormalizer
from distill_rl.policies.noise import scaled_noise_fn

_MIN_LOG_STD, _MAX_LOG_STD = -5.0, 0.0


class GaussianPolicy(nn.Module):
    """`N(tanh(m(s)), exp(l(s))^2)` in each dimension; samples are clipped to [-1, 1].

    Args:
      observation_size: `O`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers.
      backbone: `mlp` or `ln_resnet`.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_sizes: tuple[int, ...] = (256, 256, 256),
        backbone: str = "mlp",
    ):
        super().__init__()
        self.observation_size, self.action_size = observation_size, action_size
        self.hidden_sizes, self.backbone = tuple(hidden_sizes), backbone
        self.normalizer = RunningNormalizer(observation_size)
        self.network = make_backbone(backbone, observation_size, self.hidden_sizes, 2 * action_size)

    def parameters_of(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns mean and log standard deviation. Shapes `[..., O]` to twice `[..., A]`."""
        mean, log_std = self.network(self.normalizer(observation)).chunk(2, dim=-1)
        # A smooth bound: the gradient never vanishes at it all at once.
        share = 0.5 * (torch.tanh(log_std) + 1.0)
        return torch.tanh(mean), _MIN_LOG_STD + (_MAX_LOG_STD - _MIN_LOG_STD) * share

    def log_prob(self, observation: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Returns log-densities of actions before clipping, in nats. Shapes `[..., O]`, `[..., A]`."""
        mean, log_std = self.parameters_of(observation)
        scaled = (actions - mean) * torch.exp(-log_std)
        return (-0.5 * scaled.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(dim=-1)

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
          num_steps: has no meaning here.
          noise_scale: factor on the noise; 0 gives the mean.
          generator: source of the noise; needed only where `noise_scale` is not zero.

        Returns:
          Actions in [-1, 1]. Shape `[..., A]`.
        """
        del num_steps
        mean, log_std = self.parameters_of(observation)
        noise = scaled_noise_fn(observation, self.action_size, noise_scale, generator)()
        return (mean + log_std.exp() * noise).clamp(-1.0, 1.0)

    @torch.no_grad()
    def act(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws actions; see `sample`."""
        return self.sample(observation, num_steps, noise_scale, generator)
