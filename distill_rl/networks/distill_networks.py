"""The networks of a student, in one module."""

from torch import nn

from distill_rl.networks.value import ValueNetwork
from distill_rl.policies.consistency import ConsistencyPolicy


class DistillNetworks(nn.Module):
    """A one-step policy and its value function.

    Args:
      observation_size: `O`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers of both.
      sigma_min: smallest noise level of the policy.
      sigma_max: largest noise level of the policy.
      sigma_data: standard deviation of actions assumed by the policy's scalings.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_sizes: tuple[int, ...] = (256, 256),
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
    ):
        super().__init__()
        self.policy = ConsistencyPolicy(
            observation_size,
            action_size,
            hidden_sizes=hidden_sizes,
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            sigma_data=sigma_data,
        )
        self.value = ValueNetwork(observation_size, hidden_sizes=hidden_sizes)
