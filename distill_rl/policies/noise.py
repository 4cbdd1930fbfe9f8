"""Unit noise for acting, scaled or none at all."""

from collections.abc import Callable

import torch

from distill_rl.checks import check_not_negative


def scaled_noise_fn(
    like: torch.Tensor, size: int, noise_scale: float, generator: torch.Generator | None
) -> Callable[[], torch.Tensor]:
    """Returns a function that draws `noise_scale * z`, with `z` standard normal; zeros at scale 0.

    Args:
      like: its leading axes, device and dtype are those of the noise. Shape `[..., any]`.
      size: last axis of the noise.
      noise_scale: factor, at least 0.
      generator: source of the noise; torch's global one by default.

    Raises:
      ValueError: if `noise_scale` is negative or not finite.
    """
    check_not_negative("noise_scale", noise_scale)
    shape = (*like.shape[:-1], size)

    def noise_fn() -> torch.Tensor:
        if noise_scale == 0.0:
            return like.new_zeros(shape)
        noise = torch.randn(shape, generator=generator, device=like.device)
        return noise_scale * noise.to(like.dtype)

    return noise_fn
