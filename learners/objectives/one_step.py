"""What the losses of the one-step map share: weights of a set, noise, and the target where there is none."""

import torch
from torch import Tensor

from distill_rl.types import ReferenceSet


def reference_log_weights(batch: ReferenceSet, is_corrected: bool) -> Tensor:
    """Returns log-weights of the candidates: p*/q, or p* alone as in Fang & Di, Eq. (1). Shape `[B, N]`."""
    log_weights: Tensor = batch.log_probs
    return log_weights - batch.log_proposals if is_corrected else log_weights


def reference_means(actions: Tensor, log_weights: Tensor) -> Tensor:
    """Returns the means of weighted sets: the target of the zero-noise action.

    The zero-noise action is what acts and what searches follow, and samples never come near zero in many
    dimensions, so it is trained by itself. The mean is a quieter label than any point of the set.

    Args:
      actions: candidates. Shape `[B, N, A]`.
      log_weights: unnormalised. Shape `[B, N]`.

    Returns:
      Shape `[B, A]`.
    """
    return torch.einsum("bn,bna->ba", torch.softmax(log_weights, dim=-1), actions)


def partly_zero_noise(
    actions: Tensor, num_noises: int, zero_noise_fraction: float, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Draws unit noise for each state, and sets that of the first ones of the batch to zero.

    Args:
      actions: candidates. Shape `[B, N, A]`.
      num_noises: `K`.
      zero_noise_fraction: share of the states without noise.
      generator: source of the noise.

    Returns:
      Noise, shape `[B, K, A]`, and the number of states without it.
    """
    shape = (actions.shape[0], num_noises, actions.shape[-1])
    noise = torch.randn(shape, generator=generator, device=actions.device)
    num_zero = round(zero_noise_fraction * len(noise))
    noise[:num_zero] = 0.0
    return noise, num_zero
