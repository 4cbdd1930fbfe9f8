"""The networks of a student, in one module."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from distill_rl.networks.value import ValueNetwork
from distill_rl.networks.world_model import Encoder, WorldModel, WorldModelConfig
from distill_rl.policies.consistency import ConsistencyPolicy


class DistillNetworks(nn.Module):
    """A one-step policy and its value function.

    Args:
      observation_size: `O`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers of both.
      **policy_settings: further arguments of `ConsistencyPolicy`.
    """

    encoder: Encoder | None = None

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_sizes: tuple[int, ...] = (256, 256),
        **policy_settings: Any,
    ):
        super().__init__()
        self.policy = ConsistencyPolicy(
            observation_size, action_size, hidden_sizes=hidden_sizes, **policy_settings
        )
        self.value = ValueNetwork(observation_size, hidden_sizes=hidden_sizes)

    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns what the policy is conditioned on: the observation itself. Shape `[..., O]`."""
        return observation


class LatentNetworks(nn.Module):
    """A one-step policy over the latent states of a learned model, which values its actions too.

    Args:
      observation_size: `O`.
      action_size: `A`.
      world_model: settings of the model.
      **policy_settings: further arguments of `ConsistencyPolicy`.
    """

    def __init__(
        self, observation_size: int, action_size: int, world_model: WorldModelConfig, **policy_settings: Any
    ):
        super().__init__()
        self.encoder = Encoder(observation_size, world_model)
        self.world_model = WorldModel(action_size, world_model)
        self.policy = ConsistencyPolicy(world_model.latent_size, action_size, **policy_settings)

    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns what the policy is conditioned on: latent states. Shapes `[..., O]` to `[..., Z]`."""
        return self.encoder(observation)

    def value(self, latent: torch.Tensor) -> torch.Tensor:
        """Returns the value of the policy's zero-noise action. Shapes `[M, Z]` to `[M]`."""
        noise = latent.new_zeros((*latent.shape[:-1], self.policy.action_size))
        return self.world_model.q_value(latent, self.policy.one_step(latent, noise))


StudentNetworks = DistillNetworks | LatentNetworks


def make_networks(
    observation_size: int,
    action_size: int,
    settings: Mapping[str, Any],
    world_model: WorldModelConfig,
) -> StudentNetworks:
    """Builds the networks of a student.

    Args:
      observation_size: `O`.
      action_size: `A`.
      settings: further arguments of `DistillNetworks`.
      world_model: settings of a learned model; without one (`enabled`) the policy sees observations.
    """
    if world_model.enabled:
        return LatentNetworks(observation_size, action_size, world_model, **settings)
    return DistillNetworks(observation_size, action_size, **settings)
