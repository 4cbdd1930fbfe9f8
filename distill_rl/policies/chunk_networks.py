"""The networks of RACTD, in one module: teacher, reward model and student."""

from typing import Any

import torch
from torch import nn

from distill_rl.networks.reward import RewardModel
from distill_rl.policies.chunk import ChunkConsistencyPolicy, ChunkDiffusionPolicy

TEACHER, REWARD, STUDENT = PARTS = ("teacher", "reward", "student")
"""The parts by name, in the order that the paper has their stages in."""


class ChunkNetworks(nn.Module):
    """What the stages leave behind, and which of them there is yet.

    Args:
      observation_size: `O`.
      action_size: `A`.
      policy_settings: further arguments of both policies, see `ChunkPolicy`.
      reward_hidden_sizes: hidden layers of the reward model.

    Attributes:
      teacher: the diffusion model of chunks.
      reward_model: predicts normalised returns to go.
      student: the model of jumps.
      is_begun: whether teacher, reward model and student are more than their initial weights. Shape `[3]`,
        bool.
    """

    encoder = None  # the policies see observations
    is_begun: torch.Tensor

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        policy_settings: dict[str, Any],
        reward_hidden_sizes: tuple[int, ...],
    ):
        super().__init__()
        self.teacher = ChunkDiffusionPolicy(observation_size, action_size, **policy_settings)
        self.reward_model = RewardModel(observation_size, action_size, tuple(reward_hidden_sizes))
        self.student = ChunkConsistencyPolicy(observation_size, action_size, **policy_settings)
        self.register_buffer("is_begun", torch.zeros(len(PARTS), dtype=torch.bool))

    def has(self, part: str) -> bool:
        """Returns whether `teacher`, `reward` or `student` is more than its initial weights."""
        return bool(self.is_begun[PARTS.index(part)])

    def put(self, part: str, network: nn.Module) -> None:
        """Holds a network as `teacher` (its denoiser), `reward` or `student` (its jumper)."""
        if part == REWARD:
            assert isinstance(network, RewardModel)
            self.reward_model = network
        else:
            policy = getattr(self, part)
            policy.model = network
        self.is_begun[PARTS.index(part)] = True

    def part(self, part: str) -> nn.Module:
        """Returns the network of `teacher`, `reward` or `student`, as `put` takes it."""
        network: nn.Module = self.reward_model if part == REWARD else getattr(self, part).model
        return network
