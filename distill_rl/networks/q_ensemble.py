"""Values of actions, by several networks."""

import torch
from torch import nn

from distill_rl.checks import check_at_least_one
from distill_rl.networks.mlp import MLP
from distill_rl.networks.normalizer import RunningNormalizer


class QEnsemble(nn.Module):
    """Independent networks `Q_i(s, a)`; learning takes their minimum. Source: Fujimoto et al. (2018), TD3.

    Args:
      observation_size: `O`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers.
      num_members: `E`, number of networks.

    Raises:
      ValueError: if there is no member.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_sizes: tuple[int, ...] = (256, 256, 256),
        num_members: int = 2,
    ):
        super().__init__()
        self.observation_size, self.action_size = observation_size, action_size
        self.hidden_sizes, self.num_members = tuple(hidden_sizes), num_members
        check_at_least_one("num_members", num_members)
        self.normalizer = RunningNormalizer(observation_size)
        self.members = nn.ModuleList(
            MLP(observation_size + action_size, hidden_sizes, 1) for _ in range(num_members)
        )

    def forward(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Returns every member's value, in reward units.

        Args:
          observation: shape `[..., O]`; its leading axes broadcast to those of `action`.
          action: shape `[..., A]`.

        Returns:
          Shape `[E, ...]`.
        """
        seen = self.normalizer(observation).expand(*action.shape[:-1], -1)
        features = torch.cat([seen, action], dim=-1)
        return torch.stack([member(features)[..., 0] for member in self.members])
