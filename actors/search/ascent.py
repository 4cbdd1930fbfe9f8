"""The direction in which values rise, fitted to the candidates of a first round.

The best of a few random perturbations is a noisy label: in `A` dimensions most of what it carries is chance.
A linear fit to all of them says where values rise, as in random-search policy gradients (Mania et al. 2018,
"Simple random search of static linear policies is competitive for reinforcement learning",
https://arxiv.org/abs/1803.07055, Section 2), here for one state at a time; steps along it are candidates of a
second round, whose values are simulated like all others.
"""

import numpy as np

from distill_rl.checks import check_shape

_RIDGE = 0.1
"""In squared action units: what a dozen perturbations of scale 0.3 to 0.6 outweigh twentyfold."""


def ascent_direction(displacements: np.ndarray, q_values: np.ndarray) -> np.ndarray:
    """Fits `Q_k ~ b + g . d_k` by ridge regression, state by state.

    Args:
      displacements: `d_k`, actions less the action they are perturbations of. Shape `[B, k, A]`.
      q_values: `Q_k`; what is not finite is left out. Shape `[B, k]`.

    Returns:
      `g`, scaled so that its largest component is 1 in magnitude; zero where values do not differ. Shape
      `[B, A]`, float32.

    Raises:
      ValueError: if the shapes disagree.
    """
    check_shape("q_values", q_values, displacements.shape[:2])
    is_finite = np.isfinite(q_values)
    count = np.maximum(is_finite.sum(axis=1, keepdims=True), 1)
    q = np.where(is_finite, q_values, 0.0)
    q = np.where(is_finite, q - q.sum(axis=1, keepdims=True) / count, 0.0)
    x = np.where(is_finite[..., None], displacements, 0.0).astype(np.float64)
    x = np.where(is_finite[..., None], x - x.sum(axis=1, keepdims=True) / count[..., None], 0.0)
    moments = np.einsum("bka,bkc->bac", x, x) + _RIDGE * np.eye(x.shape[-1])
    gradient = np.linalg.solve(moments, np.einsum("bka,bk->ba", x, q)[..., None])[..., 0]
    largest = np.abs(gradient).max(axis=1, keepdims=True)
    return (gradient / np.where(largest > 0.0, largest, 1.0)).astype(np.float32)
