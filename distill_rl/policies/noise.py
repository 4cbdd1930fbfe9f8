"""Unit noise for acting, scaled or none at all."""

from collections.abc import Callable

import torch


def scaled_noise_fn(
    like: torch.Tensor, size: int, noise_scale: float, generator: torch.Generator | None
) -> Callable[[], torch.Tensor]:
    """Returns a function that draws `noise_scale * z`, with `z` standard normal; zeros at scale 0.

    Args:
      like: its leading axes, device and dtype are those of the noise. Shape `[..., any]`.
      size: last axis of the noise.
      noise_scale: factor.
      generator: source of the noise; torch's global one by default.
    """
    shape = (*like.shape[:-1], size)

    def noise_fn() -> torch.Tensor:
        if noise_scale == 0.0:
            return like.new_zeros(shape)
        noise = torch.randn(shape, generator=generator, device=like.device)
        return noise_scale * noise.to(like.dtype)

    return noise_fn
