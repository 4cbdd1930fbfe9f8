"""The networks of plans: sequences of states between a start and a goal.

Sources: Janner et al. (2022), "Planning with diffusion for flexible behavior synthesis"; Ajay et al. (2023),
"Is conditional generative modeling all you need for decision-making?" (inverse dynamics).
"""

from typing import Any

import torch
from torch import nn

from distill_rl.checks import check_shape
from distill_rl.networks.mlp import MLP
from distill_rl.networks.temporal_unet import TemporalUNet
from distill_rl.networks.trajectory_networks import ConditionedUNet


def inpaint(plan: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Sets the first and the last state of plans, as they are given, and leaves the others.

    Args:
      plan: shape `[B, T, S]`, of two steps or more.
      ends: start and goal. Shape `[B, 2 S]`.

    Returns:
      Shape `[B, T, S]`.

    Raises:
      ValueError: if the ends are not two states for each plan, or a plan is of a single step.
    """
    check_shape("ends", ends, (len(plan), 2 * plan.shape[-1]))
    if plan.shape[1] < 2:
        raise ValueError(f"`plan` must have 2 steps or more, got {plan.shape[1]}")
    start, goal = ends.unsqueeze(1).chunk(2, dim=-1)
    return torch.cat([start, plan[:, 1:-1], goal], dim=1)


class PlanUNet(ConditionedUNet):
    """A `TemporalUNet` of plans that sees their two ends clean, whatever the noise of the rest.

    Ends are put into its input after the input's scaling: next to noise of a level of 80 they would vanish.
    The scaling of a variance-preserving model leaves them so. They condition every step besides.
    Sources: Janner et al. (2022), Section 3.3 (in-painting); Duan et al. (2025), RACTD, Section 3.2
    (conditioning on state and goal).

    Args:
      state_size: `S`.
      num_noise_inputs: see `TemporalUNet`.
      **settings: further arguments of `TemporalUNet`.
    """

    def __init__(self, state_size: int, num_noise_inputs: int, **settings: Any):
        super().__init__(2 * state_size, state_size, num_noise_inputs, **settings)

    def forward(self, x: torch.Tensor, noise_inputs: list[torch.Tensor], ends: torch.Tensor) -> torch.Tensor:
        """Evaluates the network. Shapes `[B, T, S]`, `[B]` each, `[B, 2 S]` to `[B, T, S]`."""
        return super().forward(inpaint(x, ends), noise_inputs, ends)


class PlanReturn(nn.Module):
    """Predicts the return of the plan under the noise, `J(x, sigma)`: the mean of a U-Net's outputs.

    The guide of Diffuser. Source: Janner et al. (2022), Section 3.2.

    Args:
      state_size: `S`.
      sigma_data: standard deviation of the entries of a plan.
      **settings: further arguments of `TemporalUNet`.
    """

    def __init__(self, state_size: int, sigma_data: float = 0.5, **settings: Any):
        super().__init__()
        self.unet = TemporalUNet(state_size, 2 * state_size, **settings)
        self.sigma_data = sigma_data

    def forward(self, x_sigma: torch.Tensor, sigma: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Predicts. Shapes `[B, T, S]`, `[B]`, `[B, 2 S]` to `[B]`."""
        scale = torch.rsqrt(sigma.square() + self.sigma_data**2)[:, None, None]
        out: torch.Tensor = self.unet(inpaint(scale * x_sigma, ends), [250.0 * sigma.log()], ends)
        return out.mean(dim=(1, 2))


class InverseDynamics(nn.Module):
    """Predicts the action between two states, `a = f(s, s')`, from the first and their scaled difference.

    Args:
      state_size: `S`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers.

    Attributes:
      step_scale: standard deviation of the differences. Shape `[S]`.
    """

    step_scale: torch.Tensor

    def __init__(self, state_size: int, action_size: int, hidden_sizes: tuple[int, ...] = (128, 128)):
        super().__init__()
        self.layers = MLP(2 * state_size, hidden_sizes, action_size)
        self.register_buffer("step_scale", torch.ones(state_size))

    def forward(self, state: torch.Tensor, next_state: torch.Tensor) -> torch.Tensor:
        """Predicts actions. Shapes `[..., S]` twice to `[..., A]`."""
        out: torch.Tensor = self.layers(torch.cat([state, (next_state - state) / self.step_scale], dim=-1))
        return out
