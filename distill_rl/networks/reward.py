"""A model of what an action leads to."""

import itertools

import torch
from torch import nn

from distill_rl.networks.normalizer import RunningNormalizer


class RewardModel(nn.Module):
    """Predicts the normalised return to go of an action, `R(s, a)`, by linear layers and Mish.

    Source: Duan et al. (2025), RACTD, Section 3.3 and Table 8.

    Args:
      observation_size: `O`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers.
    """

    def __init__(
        self, observation_size: int, action_size: int, hidden_sizes: tuple[int, ...] = (32, 64, 128, 256)
    ):
        super().__init__()
        self.normalizer = RunningNormalizer(observation_size)
        sizes = (observation_size + action_size, *hidden_sizes)
        layers: list[nn.Module] = []
        for in_size, out_size in itertools.pairwise(sizes):
            layers += [nn.Linear(in_size, out_size), nn.Mish()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Returns predictions. Shapes `[..., O]`, `[..., A]` to `[...]`."""
        features = torch.cat([self.normalizer(observation), action], dim=-1)
        out: torch.Tensor = self.layers(features)
        return out[..., 0]
