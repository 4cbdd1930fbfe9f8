"""Random plans about a nominal one, with noise held over several steps.

Held noise moves a mechanical system where white noise hardly does (Pinneri et al. 2020, "Sample-efficient
Cross-Entropy Method for Real-time Planning", https://arxiv.org/abs/2008.06389).

Noise is added before squashing, `a = tanh(u + offset)`, `u = atanh(nominal)`, so that first actions have a
density and means of plans can stay near the bounds. Noise truncated to the bounds pushes every mean inward:
measured on cheetah-run, MPPI then reached 250 instead of 620.
"""

import dataclasses

import numpy as np

from actors.search.proposals import LARGEST_MEDIAN, tanh_shifted_log_prob


@dataclasses.dataclass(frozen=True)
class Plans:
    """`n` plans of each of `B` roots over `H` steps in `G` segments.

    Attributes:
      actions: in (-1, 1). Shape `[B, n, H, A]`, float64.
      offsets: added to the nominal plan before squashing, in each segment. Shape `[B, n, G, A]`.
      log_proposals: log-density of each first action. Shape `[B, n]`.
    """

    actions: np.ndarray
    offsets: np.ndarray
    log_proposals: np.ndarray


def sample_plans(
    nominal: np.ndarray,
    offset_mean: np.ndarray,
    scale: np.ndarray,
    generator: np.random.Generator,
    *,
    num_plans: int,
    hold_steps: int,
) -> Plans:
    """Draws plans `tanh(atanh(nominal) + offset)`, with one normal offset for each segment.

    Args:
      nominal: in [-1, 1]. Shape `[B, H, A]`.
      offset_mean: mean of the offsets. Shape `[B, G, A]`, `G = ceil(H / hold_steps)`.
      scale: their standard deviations. Shape `[B, G, A]`.
      generator: source of the draws.
      num_plans: `n`.
      hold_steps: steps of a segment.

    Returns:
      The plans.
    """
    shape = (len(nominal), num_plans, *offset_mean.shape[1:])
    offsets = offset_mean[:, None] + scale[:, None] * generator.standard_normal(shape)
    actions = shift_plan(nominal[:, None], offsets, hold_steps)
    log_proposals = tanh_shifted_log_prob(actions[:, :, 0], nominal[:, :1], offset_mean[:, :1], scale[:, :1])
    return Plans(actions, offsets, log_proposals)


def shift_plan(nominal: np.ndarray, offsets: np.ndarray, hold_steps: int) -> np.ndarray:
    """Returns `tanh(atanh(nominal) + offsets)`, each offset held. Shapes `[..., H, A]`, `[..., G, A]`."""
    latent = np.arctanh(np.clip(nominal, -LARGEST_MEDIAN, LARGEST_MEDIAN))
    return np.tanh(latent + np.repeat(offsets, hold_steps, axis=-2)[..., : nominal.shape[-2], :])
