"""Denoising diffusion with few steps: the variance-preserving schedule, its noising and its sampler.

Source: Ho et al. (2020), "Denoising diffusion probabilistic models"; the schedule is that of Xiao et al.
(2022), "Tackling the generative learning trilemma", Appendix C, which Diffusion-QL (Wang et al., 2023,
arXiv:2208.06193) uses with 5 steps.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

NoiseFn = Callable[[torch.Tensor, int], torch.Tensor]
"""`(x_t [..., A], step) -> noise [..., A]`, the prediction of what was added."""


class VarianceSchedule(NamedTuple):
    """Noise of each step. Shapes `[T]`, float32.

    Attributes:
      alpha: share of the variance that step `t` keeps.
      alpha_bar: share that is left after steps `0 .. t`.
    """

    alpha: torch.Tensor
    alpha_bar: torch.Tensor


def variance_preserving_schedule(
    num_steps: int, beta_min: float = 0.1, beta_max: float = 10.0
) -> VarianceSchedule:
    """Returns `alpha_t = exp(-beta_min / T - (beta_max - beta_min) (2 t - 1) / (2 T^2))`, `t = 1 .. T`.

    Args:
      num_steps: `T`, at least 1.
      beta_min: rate of noise at the start.
      beta_max: rate of noise at the end.

    Raises:
      ValueError: if there is no step.
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1, got {num_steps}")
    t = torch.arange(1, num_steps + 1, dtype=torch.float64)
    alpha = torch.exp(-beta_min / num_steps - 0.5 * (beta_max - beta_min) * (2.0 * t - 1.0) / num_steps**2)
    return VarianceSchedule(alpha.float(), alpha.cumprod(0).float())


def add_noise(
    schedule: VarianceSchedule, clean: torch.Tensor, noise: torch.Tensor, step: torch.Tensor
) -> torch.Tensor:
    """Returns `sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) z`. Source: Ho et al. (2020), Eq. (4).

    Args:
      schedule: noise of each step.
      clean: `x`. Shape `[..., A]`.
      noise: `z`. Shape `[..., A]`.
      step: from 0. Shape `[...]`, int64.
    """
    alpha_bar = schedule.alpha_bar[step].unsqueeze(-1)
    return alpha_bar.sqrt() * clean + (1.0 - alpha_bar).sqrt() * noise


def sample_ancestral(
    schedule: VarianceSchedule, noise_fn: NoiseFn, unit_noise_fn: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """Samples from the last step back to the first; the prediction of the clean point is clipped to [-1, 1].

    Each step draws from `q(x_{t-1} | x_t, x_0)` with the predicted `x_0`, the first one without noise.
    Source: Ho et al. (2020), Eq. (6), (7) and Alg. 2.

    Args:
      schedule: noise of each step.
      noise_fn: predicts the noise.
      unit_noise_fn: returns fresh (scaled) unit noise at each call. Shape `[..., A]`.

    Returns:
      Samples in [-1, 1]. Shape `[..., A]`.
    """
    alphas, alpha_bars = schedule.alpha.tolist(), schedule.alpha_bar.tolist()

    def predict_clean(x: torch.Tensor, step: int) -> torch.Tensor:
        scaled = x - math.sqrt(1.0 - alpha_bars[step]) * noise_fn(x, step)
        return (scaled / math.sqrt(alpha_bars[step])).clamp(-1.0, 1.0)

    x = unit_noise_fn()
    for step in range(len(alphas) - 1, 0, -1):
        alpha, alpha_bar, before = alphas[step], alpha_bars[step], alpha_bars[step - 1]
        clean = predict_clean(x, step)
        mean = (math.sqrt(before) * (1.0 - alpha) * clean + math.sqrt(alpha) * (1.0 - before) * x) / (
            1.0 - alpha_bar
        )
        variance = (1.0 - before) * (1.0 - alpha) / (1.0 - alpha_bar)
        x = mean + math.sqrt(variance) * unit_noise_fn()
    return predict_clean(x, 0)
