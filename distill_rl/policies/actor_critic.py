"""The networks of an actor-critic with a noisy one-step policy."""

from typing import Any

import torch
from torch import nn

from distill_rl.checks import check_positive
from distill_rl.networks.mlp import MLP
from distill_rl.policies.consistency import ConsistencyPolicy

_MIN_SCALE = 1e-3
_INITIAL_OUTPUT_SCALE = 0.01


class ActorCriticNetworks(nn.Module):
    """A consistency policy, the noise it explores with, and a value network.

    At the start the policy's network adds nearly nothing, and exploring is that of the noise in every state
    (Andrychowicz et al. 2021, "What matters in on-policy reinforcement learning?", Section 3.2).

    The value network predicts values in units of the running deviation of its targets. When these statistics
    move its last layer moves with them, so that what it predicts in reward units stays the same ("Pop-Art",
    van Hasselt et al. 2016, "Learning values across many orders of magnitude", Section 2.1).

    Args:
      observation_size: `O`.
      action_size: `A`.
      noise_std: initial standard deviation of the noise that exploring adds to actions, in each dimension.
      hidden_sizes: widths of the hidden layers of both networks.
      **policy_settings: further arguments of `ConsistencyPolicy`.

    Attributes:
      policy: see `ConsistencyPolicy`; its normaliser of observations serves the value network too.
      noise_log_std: logarithm of the deviation of the exploring noise. Shape `[A]`.

    Raises:
      ValueError: if `noise_std` is not positive, or from the policy.
    """

    encoder: None = None

    value_mean: torch.Tensor
    value_scale: torch.Tensor
    value_count: torch.Tensor

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        noise_std: float = 0.5,
        hidden_sizes: tuple[int, ...] = (64, 64),
        **policy_settings: Any,
    ):
        super().__init__()
        check_positive("noise_std", noise_std)
        self.policy = ConsistencyPolicy(
            observation_size, action_size, hidden_sizes=tuple(hidden_sizes), **policy_settings
        )
        *_, output = self.policy.mlp.children()
        assert isinstance(output, nn.Linear)
        with torch.no_grad():
            output.weight.mul_(_INITIAL_OUTPUT_SCALE)
        self.noise_log_std = nn.Parameter(torch.full((action_size,), noise_std).log())
        self.value_network = MLP(observation_size, tuple(hidden_sizes), 1, output_scale=0.0)
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_scale", torch.ones(()))
        self.register_buffer("value_count", torch.zeros(()))

    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns what the policy is conditioned on: the observation itself. Shape `[..., O]`."""
        return observation

    def scaled_value(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns values as the network predicts them, mean 0 and deviation 1. Shapes `[..., O]`, `[...]`."""
        features = self.policy.normalizer(observation)
        predicted: torch.Tensor = self.value_network(features).squeeze(-1)
        return predicted

    def value(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns values in reward units. Shapes `[..., O]` to `[...]`."""
        return self.value_mean + self.value_scale * self.scaled_value(observation)

    def scale_targets(self, targets: torch.Tensor) -> torch.Tensor:
        """Returns `(targets - mean) / scale`, what `scaled_value` has to predict. Shape `[...]`."""
        return (targets - self.value_mean) / self.value_scale

    @torch.no_grad()
    def update_value_scale(
        self, mean: torch.Tensor, square_mean: torch.Tensor, *, max_count: float = 10.0
    ) -> None:
        """Merges the statistics of a batch of targets, and keeps what the network predicts.

        Batches are averaged alike up to `max_count`, and with a memory of that many from there on. Statistics
        that are not finite are ignored.

        Args:
          mean: of the targets. Shape `[]`.
          square_mean: of their squares. Shape `[]`.
          max_count: batches remembered.
        """
        if not torch.isfinite(mean + square_mean):
            return
        count = torch.clamp(self.value_count + 1.0, max=max_count)
        old_mean, old_scale = self.value_mean.clone(), self.value_scale.clone()
        old_square = old_scale.square() + old_mean.square()
        new_mean = old_mean + (mean - old_mean) / count
        new_square = old_square + (square_mean - old_square) / count
        scale = (new_square - new_mean.square()).clamp_min(_MIN_SCALE**2).sqrt()
        output = self.value_network[-1]
        assert isinstance(output, nn.Linear)
        output.weight.mul_(old_scale / scale)
        output.bias.mul_(old_scale).add_(old_mean - new_mean).div_(scale)
        self.value_mean.copy_(new_mean)
        self.value_scale.copy_(scale)
        self.value_count.copy_(count)
