"""A learned model of an environment, in a latent space: encoder, dynamics, rewards, terminations, values.

Source: Hansen et al. (2024), "TD-MPC2: Scalable, robust world models for continuous control", Section 3.1 and
Appendix A, https://arxiv.org/abs/2310.16828. Departures: terminations are predicted too (as in its later
versions); two value functions instead of five, without dropout, and narrower layers, for learners on a CPU;
one learning rate for all parts; SiLU for Mish as in every network here.
"""

import dataclasses

import torch
from torch import nn

from distill_rl.checks import check_at_least_one, check_fraction, check_positive, check_widths
from distill_rl.networks.discrete_regression import SymlogHistogram
from distill_rl.networks.mlp import MLP
from distill_rl.networks.normalizer import RunningNormalizer

_FIRST_TERMINATION_LOGIT = -3.0


@dataclasses.dataclass(frozen=True)
class WorldModelConfig:
    """Settings of a learned model, and of its training.

    Attributes:
      enabled: whether searches step a learned model instead of a simulator of the environment.
      latent_size: `Z`, a multiple of `group_size`.
      group_size: entries of a latent state that sum to one, see `simplicial_norm`.
      model_hidden_sizes: hidden layers of all parts.
      num_values: value functions of actions, of which the smallest counts.
      num_model_steps: `H`, steps that the model is unrolled for in training.
      step_decay: weight of each step over that of the one before.
      consistency_weight: of the loss of latent states.
      reward_weight: of the loss of rewards and terminations.
      action_value_weight: of the loss of values.
    """

    enabled: bool = False
    latent_size: int = 128
    group_size: int = 8
    model_hidden_sizes: tuple[int, ...] = (256, 256)
    num_values: int = 2
    num_model_steps: int = 3
    step_decay: float = 0.5
    consistency_weight: float = 20.0
    reward_weight: float = 0.1
    action_value_weight: float = 0.1

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        object.__setattr__(self, "model_hidden_sizes", tuple(self.model_hidden_sizes))
        for name in ("latent_size", "group_size", "num_values", "num_model_steps"):
            check_at_least_one(name, getattr(self, name))
        if self.latent_size % self.group_size:
            raise ValueError(
                f"`latent_size` must be a multiple of group_size = {self.group_size}, got {self.latent_size}"
            )
        check_widths("model_hidden_sizes", self.model_hidden_sizes)
        check_fraction("step_decay", self.step_decay)
        for name in ("consistency_weight", "reward_weight", "action_value_weight"):
            check_positive(name, getattr(self, name))


def simplicial_norm(x: torch.Tensor, group_size: int) -> torch.Tensor:
    """Returns the softmax of each group of entries, which keeps latent states bounded and sparse.

    Source: Lavoie et al. (2023), "Simplicial embeddings in self-supervised learning"; TD-MPC2, Eq. (4).

    Args:
      x: shape `[..., Z]`.
      group_size: entries of a group.

    Returns:
      Shape `[..., Z]`.
    """
    groups = x.unflatten(-1, (-1, group_size))
    return torch.softmax(groups, dim=-1).flatten(-2)


def _to_latent(input_size: int, config: WorldModelConfig) -> nn.Sequential:
    """Returns a network to latent states, normalised so that `simplicial_norm` does not saturate."""
    mlp = MLP(input_size, config.model_hidden_sizes, config.latent_size)
    return nn.Sequential(mlp, nn.LayerNorm(config.latent_size))


class Encoder(nn.Module):
    """Maps observations to latent states.

    Args:
      observation_size: `O`.
      config: sizes.
    """

    def __init__(self, observation_size: int, config: WorldModelConfig):
        super().__init__()
        self.observation_size = observation_size
        self.config = config
        self.normalizer = RunningNormalizer(observation_size)
        self.mlp = _to_latent(observation_size, config)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Returns latent states. Shapes `[..., O]` to `[..., Z]`."""
        return simplicial_norm(self.mlp(self.normalizer(observation)), self.config.group_size)


class WorldModel(nn.Module):
    """Steps latent states, and values actions in them.

    Args:
      action_size: `A`.
      config: sizes.
    """

    def __init__(self, action_size: int, config: WorldModelConfig):
        super().__init__()
        self.config = config
        self.histogram = SymlogHistogram()
        joint_size, hidden_sizes = config.latent_size + action_size, config.model_hidden_sizes
        self.dynamics = _to_latent(joint_size, config)
        self.reward = MLP(joint_size, hidden_sizes, self.histogram.num_bins, output_scale=0.0)
        # Nothing ends before an end was seen.
        self.termination = MLP(joint_size, hidden_sizes[-1:], 1, output_scale=0.0)
        output = self.termination[-1]
        assert isinstance(output, nn.Linear)
        nn.init.constant_(output.bias, _FIRST_TERMINATION_LOGIT)
        self.values = nn.ModuleList(
            MLP(joint_size, hidden_sizes, self.histogram.num_bins, output_scale=0.0)
            for _ in range(config.num_values)
        )

    def next_latent(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Returns the latent states after an action. Shapes `[..., Z]`, `[..., A]` to `[..., Z]`."""
        joint = torch.cat([latent, action], dim=-1)
        return simplicial_norm(self.dynamics(joint), self.config.group_size)

    def step(
        self, latent: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Takes one step.

        Args:
          latent: shape `[M, Z]`.
          action: shape `[M, A]`.

        Returns:
          Latent states after it `[M, Z]`, rewards `[M]`, and discounts `[M]`: 0 where it ends the episode
          with a probability above one half, else 1.
        """
        joint = torch.cat([latent, action], dim=-1)
        after = simplicial_norm(self.dynamics(joint), self.config.group_size)
        reward = self.histogram.decode(self.reward(joint))
        discount = (self.termination(joint)[..., 0] <= 0.0).to(reward.dtype)
        return after, reward, discount

    def q_logits(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Returns the logits of every value function. Shapes `[..., Z]`, `[..., A]` to `[Q, ..., bins]`."""
        joint = torch.cat([latent, action], dim=-1)
        return torch.stack([value(joint) for value in self.values])

    def q_value(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Returns the smallest of the predicted values. Shapes `[..., Z]`, `[..., A]` to `[...]`."""
        return self.histogram.decode(self.q_logits(latent, action)).amin(dim=0)
