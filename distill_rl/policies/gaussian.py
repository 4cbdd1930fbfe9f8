"""A policy of one Gaussian for each observation: the baseline that has no second mode."""

import math

import torch

from distill_rl.checks import check_shape
from distill_rl.networks.backbones import make_backbone
from distill_rl.networks.normalizer import RunningNormalizer
from distill_rl.policies.generative import GenerativePolicy
from distill_rl.policies.noise import scaled_noise_fn

_MIN_LOG_STD, _MAX_LOG_STD = -5.0, 0.0
_LOG_SQRT_2_PI = 0.5 * math.log(2.0 * math.pi)


def normal_log_prob(x: torch.Tensor, mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
    """Returns `log N(x; mean, exp(log_std)^2)` of each entry, in nats. Shapes that broadcast to `[...]`."""
    scaled = (x - mean) * torch.exp(-log_std)
    return -0.5 * scaled.square() - log_std - _LOG_SQRT_2_PI


class GaussianPolicy(GenerativePolicy):
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
        """Returns log-densities of actions before clipping.

        Args:
          observation: shape `[..., O]`; axes of length 1 are repeated.
          actions: shape `[..., A]`, of the same rank.

        Returns:
          In nats. Shape `[...]`.

        Raises:
          ValueError: if `actions` has another rank than `observation`, or another last axis.
        """
        mean, log_std = self.parameters_of(observation)
        check_shape("actions", actions, (*(None for _ in mean.shape[:-1]), self.action_size))
        return normal_log_prob(actions, mean, log_std).sum(dim=-1)

    def sample(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws actions, differentiably; see `GenerativePolicy.sample`. Shapes `[..., O]` to `[..., A]`.

        `num_steps` has no meaning here. A `noise_scale` of 0 gives the mean.
        """
        del num_steps
        mean, log_std = self.parameters_of(observation)
        noise = scaled_noise_fn(observation, self.action_size, noise_scale, generator)()
        return (mean + log_std.exp() * noise).clamp(-1.0, 1.0)
