"""The networks of offline learning, in one module."""

from typing import Any

import torch
from torch import nn

from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.policies.kinds import make_policy


class OfflineNetworks(nn.Module):
    """A policy and what it learns with.

    Args:
      observation_size: `O`.
      action_size: `A`.
      kind: of the policy, see `POLICY_KINDS`.
      policy_settings: further arguments of the policy's class.
      with_critic: whether there is a critic.
      num_critics: its members.
      with_backup_policy: whether another policy of the same kind bootstraps the critic.
      behaviour_settings: further arguments of a diffusion policy that models the data beside the policy;
        None for none.

    Attributes:
      policy: what acts.
      critic: values of actions, or None.
      backup_policy: whose values the critic learns, if not the policy's; or None.
      behaviour: a model of the data's actions, or None.
    """

    encoder = None  # the policy sees observations

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        kind: str,
        policy_settings: dict[str, Any],
        with_critic: bool = False,
        num_critics: int = 2,
        with_backup_policy: bool = False,
        behaviour_settings: dict[str, Any] | None = None,
    ):
        super().__init__()
        sizes = {"observation_size": observation_size, "action_size": action_size}
        self.policy = make_policy(kind, **sizes, **policy_settings)
        self.critic = None
        if with_critic:
            self.critic = QEnsemble(**sizes, hidden_sizes=self.policy.hidden_sizes, num_members=num_critics)
        self.backup_policy = make_policy(kind, **sizes, **policy_settings) if with_backup_policy else None
        self.behaviour = None
        if behaviour_settings is not None:
            self.behaviour = make_policy("diffusion", **sizes, **behaviour_settings)

    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns what the policy is conditioned on: the observation itself. Shape `[..., O]`."""
        return observation
