"""Random plans about a nominal one, with noise held over several steps.

Held noise moves a mechanical system where white noise hardly does (Pinneri et al. 2020, "Sample-efficient
Cross-Entropy Method for Real-time Planning", https://arxiv.org/abs/2008.06389).
"""

import dataclasses

import numpy as np

from actors.search.proposals import truncated_normal_log_prob, truncated_normal_sample


@dataclasses.dataclass(frozen=True)
class Plans:
    """`n` plans of each of `B` roots over `H` steps in `G` segments.

    Attributes:
      actions: in [-1, 1]. Shape `[B, n, H, A]`, float64.
      offsets: held actions less the nominal action at the start of their segment. Shape `[B, n, G, A]`.
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
    """Draws plans `nominal + offset`, with one offset for each segment.

    The action at the start of a segment is a truncated normal variable about `nominal + offset_mean`, so that
    first actions have a density; later ones of a segment are shifted alike, and clipped.

    Args:
      nominal: in [-1, 1]. Shape `[B, H, A]`.
      offset_mean: shape `[B, G, A]`, `G = ceil(H / hold_steps)`.
      scale: standard deviations before truncation. Shape `[B, G, A]`.
      generator: source of the draws.
      num_plans: `n`.
      hold_steps: steps of a segment.

    Returns:
      The plans.
    """
    starts = nominal[:, ::hold_steps].astype(np.float64)
    centre = np.clip(starts + offset_mean, -1.0, 1.0)
    shape = (len(nominal), num_plans, *centre.shape[1:])
    held = truncated_normal_sample(np.broadcast_to(centre[:, None], shape), scale[:, None], generator)
    log_proposals = truncated_normal_log_prob(held[:, :, 0], centre[:, None, 0], scale[:, None, 0])
    offsets = held - starts[:, None]
    return Plans(shift_plan(nominal[:, None], offsets, hold_steps), offsets, log_proposals)


def shift_plan(nominal: np.ndarray, offsets: np.ndarray, hold_steps: int) -> np.ndarray:
    """Returns `clip(nominal + offsets)`, each offset held. Shapes `[..., H, A]`, `[..., G, A]`."""
    num_steps = nominal.shape[-2]
    return np.clip(nominal + np.repeat(offsets, hold_steps, axis=-2)[..., :num_steps, :], -1.0, 1.0)
