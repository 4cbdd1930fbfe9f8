"""Generative models of plans, whose start and goal are in-painted at every noise level.

Sources: Janner et al. (2022), "Planning with diffusion for flexible behavior synthesis", Section 3.3; Duan et
al. (2025), RACTD, Section 4.2.
"""

import torch

from distill_rl.networks.plan_networks import PlanUNet, inpaint
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper


class PlanDenoiser(TrajectoryDenoiser):
    """A `TrajectoryDenoiser` of states whose first and last are known.

    The condition is the two ends `[B, 2 S]`. They are there, to the bit, in what the network sees and in what
    comes out.

    Args:
      network: `F`, with one noise level.
      sigma_data: standard deviation of the entries of a plan.
    """

    def __init__(self, network: PlanUNet, sigma_data: float = 0.5):
        super().__init__(network, sigma_data)

    def denoise(
        self, x_sigma: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Evaluates the denoiser. Shapes `[B, T, S]`, `[B]`, `[B, 2 S]` to `[B, T, S]`."""
        assert condition is not None
        return inpaint(super().denoise(x_sigma, sigma, condition), condition)


class PlanJumper(TrajectoryJumper):
    """A `TrajectoryJumper` of states whose first and last are known; see `PlanDenoiser`.

    Args:
      network: `F`, with two noise levels.
      sigma_data: standard deviation of the entries of a plan.
      sigma_min: smallest noise level, that of samples.
      sigma_max: largest noise level, where sampling starts.
    """

    def __init__(
        self,
        network: PlanUNet,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
    ):
        super().__init__(network, sigma_data, sigma_min, sigma_max)

    def jump(
        self,
        x_sigma: torch.Tensor,
        sigma: torch.Tensor,
        next_sigma: torch.Tensor,
        condition: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Evaluates `G`. Shapes `[B, T, S]`, `[B]`, `[B]`, `[B, 2 S]` to `[B, T, S]`."""
        assert condition is not None
        return inpaint(super().jump(x_sigma, sigma, next_sigma, condition), condition)
