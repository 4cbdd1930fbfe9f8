"""The value network."""

import torch
from torch import nn

from distill_rl.networks.discrete_regression import SymlogHistogram
from distill_rl.networks.mlp import MLP
from distill_rl.networks.normalizer import RunningNormalizer


class ValueNetwork(nn.Module):
    """Predicts the value of the policy at a state, by classification over bins.

    Before training the value is zero everywhere.

    Args:
      observation_size: `O`.
      hidden_sizes: widths of the hidden layers.
    """

    def __init__(self, observation_size: int, *, hidden_sizes: tuple[int, ...] = (256, 256)):
        super().__init__()
        self.normalizer = RunningNormalizer(observation_size)
        self.histogram = SymlogHistogram()
        self.mlp = MLP(observation_size, hidden_sizes, self.histogram.num_bins, output_scale=0.0)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns the logits of the bins. Shapes `[..., O]` to `[..., num_bins]`."""
        return self.mlp(self.normalizer(observation))

    def value(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns the predicted value, in reward units. Shapes `[..., O]` to `[...]`."""
        return self.histogram.decode(self(observation))

    def loss(self, observation: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Returns the mean cross-entropy to the target values. Shapes `[..., O]`, `[...]` to `[]`."""
        return self.histogram.cross_entropy(self(observation), target).mean()
