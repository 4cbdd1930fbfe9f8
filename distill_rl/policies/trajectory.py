"""Generative models of trajectories: a denoiser (the teacher), a jumper between levels (the student).

Sources: Karras et al. (2022), "Elucidating the design space of diffusion-based generative models"; Kim et al.
(2024), "Consistency trajectory models", Section 3; Duan et al. (2025), "Accelerating diffusion models in
offline RL via reward-aware consistency trajectory distillation" (RACTD).
"""

from collections.abc import Callable

import torch
from torch import nn

from distill_rl.checks import check_positive
from distill_rl.diffusion.scalings import edm_scalings
from distill_rl.diffusion.schedules import check_noise_levels
from distill_rl.networks.trajectory_networks import ConditionedUNet

_LEVEL_SCALE = 1_000.0
"""Factor on `c_noise`, so that the embedding of a level tells neighbouring ones apart."""


class TrajectoryDenoiser(nn.Module):
    """`D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)` over trajectories; see `edm_scalings`.

    Args:
      network: `F`, with one noise level.
      sigma_data: standard deviation of the entries of a trajectory.

    Raises:
      ValueError: if `sigma_data` is not positive, or the network takes another number of noise levels.
    """

    def __init__(self, network: ConditionedUNet, sigma_data: float = 0.5):
        super().__init__()
        check_positive("sigma_data", sigma_data)
        _check_network(network, 1)
        self.network, self.sigma_data = network, sigma_data

    def denoise(
        self, x_sigma: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Evaluates the denoiser. Shapes `[B, T, D]`, `[B]`, `[B, C]` to `[B, T, D]`."""
        return _precondition(self.network, self.sigma_data, x_sigma, sigma, (sigma,), condition)


class TrajectoryJumper(nn.Module):
    """`G(x, s, s') = (s' / s) x + (1 - s' / s) g(x, s, s')`, from one noise level to any other.

    `g = c_skip x + c_out F(c_in x, c_noise, c_noise')`. `G(x, s, s) = x`, and `g(x, s, s)` is a denoiser.
    Source: Kim et al. (2024), Eq. (6) and Section 5.

    Args:
      network: `F`, with two noise levels.
      sigma_data: standard deviation of the entries of a trajectory.
      sigma_min: smallest noise level, that of samples.
      sigma_max: largest noise level, where sampling starts.

    Raises:
      ValueError: if a level is not positive, they are not in order, or the network takes another number of
        levels.
    """

    def __init__(
        self,
        network: ConditionedUNet,
        sigma_data: float = 0.5,
        sigma_min: float = 0.02,
        sigma_max: float = 80.0,
    ):
        super().__init__()
        check_positive("sigma_data", sigma_data)
        check_noise_levels(sigma_min, sigma_max)
        _check_network(network, 2)
        self.network, self.sigma_data = network, sigma_data
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def jump(
        self,
        x_sigma: torch.Tensor,
        sigma: torch.Tensor,
        next_sigma: torch.Tensor,
        condition: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Evaluates `G`. Shapes `[B, T, D]`, `[B]`, `[B]`, `[B, C]` to `[B, T, D]`."""
        ratio = (next_sigma / sigma)[:, None, None]
        denoised = self.denoise(x_sigma, sigma, next_sigma, condition)
        return ratio * x_sigma + (1.0 - ratio) * denoised

    def denoise(
        self,
        x_sigma: torch.Tensor,
        sigma: torch.Tensor,
        next_sigma: torch.Tensor,
        condition: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Evaluates `g`, a denoiser where both levels are the same.

        Shapes `[B, T, D]`, `[B]`, `[B]`, `[B, C]` to `[B, T, D]`.
        """
        return _precondition(self.network, self.sigma_data, x_sigma, sigma, (sigma, next_sigma), condition)

    def sample(
        self,
        noise: torch.Tensor,
        condition: torch.Tensor | None = None,
        sigmas: tuple[float, ...] = (),
        noise_fn: Callable[[], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Draws trajectories by one jump from the largest noise level to the smallest, and more if asked for.

        Source of the further ones: Song et al. (2023), "Consistency models", Alg. 1, as in RACTD, Section
        5.3.

        Args:
          noise: unit noise. Shape `[B, T, D]`.
          condition: shape `[B, C]`.
          sigmas: levels to return to, and jump from again, descending.
          noise_fn: returns fresh unit noise at each call; needed where there are such levels. Shape
            `[B, T, D]`.

        Returns:
          Shape `[B, T, D]`.

        Raises:
          ValueError: if there are levels to return to and no noise to get there.
        """
        if sigmas and noise_fn is None:
            raise ValueError("`noise_fn` must be given with levels to return to, got None")
        x = self._jump_down(self.sigma_max * noise, self.sigma_max, condition)
        for sigma in sigmas:
            assert noise_fn is not None
            added = (sigma**2 - self.sigma_min**2) ** 0.5
            x = self._jump_down(x + added * noise_fn(), sigma, condition)
        return x

    def _jump_down(self, x_sigma: torch.Tensor, sigma: float, condition: torch.Tensor | None) -> torch.Tensor:
        level = x_sigma.new_full(x_sigma.shape[:1], sigma)
        return self.jump(x_sigma, level, torch.full_like(level, self.sigma_min), condition)


def _precondition(
    network: ConditionedUNet,
    sigma_data: float,
    x_sigma: torch.Tensor,
    sigma: torch.Tensor,
    levels: tuple[torch.Tensor, ...],
    condition: torch.Tensor | None,
) -> torch.Tensor:
    scalings = edm_scalings(sigma[:, None, None], sigma_data)
    inputs = [_LEVEL_SCALE * 0.25 * level.log() for level in levels]
    out = network(scalings.c_in * x_sigma, inputs, condition)
    return scalings.c_skip * x_sigma + scalings.c_out * out


def _check_network(network: ConditionedUNet, num_noise_inputs: int) -> None:
    if network.num_noise_inputs != num_noise_inputs:
        raise ValueError(
            f"`network` must take {num_noise_inputs} noise levels, got one of {network.num_noise_inputs}"
        )
