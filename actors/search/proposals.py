"""Bounded distributions over actions with exact densities, to draw candidates from.

A Gaussian clipped to [-1, 1] has atoms at the bounds and no density; the two here are continuous. Both factor
over action dimensions.
"""

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

_LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)
_LARGEST = 1.0 - 1e-6  # of a squashed action: beyond it its inverse is lost to rounding

LARGEST_MEDIAN = 0.99
"""Of a squashed distribution: farther out tanh is flat, and nearly all draws would be at the bound."""


def truncated_normal_sample(
    mean: np.ndarray, scale: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draws from a normal distribution conditioned on [-1, 1], by its inverse distribution function.

    Args:
      mean: location, in [-1, 1]. Shape `[...]`.
      scale: standard deviation before truncation. Broadcasts with `mean`.
      generator: source of the draws.

    Returns:
      Shape of `mean` and `scale` together.
    """
    low, high = ndtr((-1.0 - mean) / scale), ndtr((1.0 - mean) / scale)
    uniform = generator.random(np.broadcast_shapes(np.shape(mean), np.shape(scale)))
    return np.clip(mean + scale * ndtri(low + uniform * (high - low)), -1.0, 1.0)


def truncated_normal_log_prob(action: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the log-density of a normal distribution conditioned on [-1, 1], summed over the last axis.

    `sum_j log N(a_j; m_j, s_j^2) - log(Phi((1 - m_j) / s_j) - Phi((-1 - m_j) / s_j))`.

    Args:
      action: in [-1, 1]. Shape `[..., A]`.
      mean: in [-1, 1]. Broadcasts with `action`.
      scale: standard deviation before truncation. Broadcasts with `action`.

    Returns:
      Shape `[...]`.
    """
    mass = ndtr((1.0 - mean) / scale) - ndtr((-1.0 - mean) / scale)
    return np.asarray((_normal_log_prob(action, mean, scale) - np.log(mass)).sum(axis=-1))


def tanh_normal_sample(mean: np.ndarray, scale: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draws `tanh(u)`, `u` normal about `atanh(mean)`.

    Args:
      mean: median of the draws, in [-1, 1]; clipped to `LARGEST_MEDIAN`. Shape `[...]`.
      scale: standard deviation before squashing. Broadcasts with `mean`.
      generator: source of the draws.

    Returns:
      Shape of `mean` and `scale` together.
    """
    shape = np.broadcast_shapes(np.shape(mean), np.shape(scale))
    squashed = np.tanh(_unsquash_median(mean) + scale * generator.standard_normal(shape))
    return np.clip(squashed, -_LARGEST, _LARGEST)


def tanh_normal_log_prob(action: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the log-density of `tanh_normal_sample`'s draws, summed over the last axis.

    Args:
      action: in [-1, 1]. Shape `[..., A]`.
      mean: as in `tanh_normal_sample`. Broadcasts with `action`.
      scale: as in `tanh_normal_sample`. Broadcasts with `action`.

    Returns:
      Shape `[...]`.
    """
    return tanh_shifted_log_prob(action, mean, np.zeros(1), scale)


def tanh_shifted_log_prob(
    action: np.ndarray, median: np.ndarray, shift: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Returns the log-density of `tanh(u)`, `u` normal about `atanh(median) + shift`, over the last axis.

    `sum_j log N(u_j; atanh(m_j) + d_j, s_j^2) - sum_j log(1 - a_j^2)`: the logarithm of the Jacobian is
    summed over dimensions, not the Jacobian itself. Source: Haarnoja et al. (2018), "Soft actor-critic",
    Appendix C.

    Args:
      action: in [-1, 1]. Shape `[..., A]`.
      median: in [-1, 1]; clipped to `LARGEST_MEDIAN`. Broadcasts with `action`.
      shift: before squashing. Broadcasts with `action`.
      scale: standard deviation before squashing. Broadcasts with `action`.

    Returns:
      Shape `[...]`.
    """
    u = _unsquash(action)
    # log(1 - tanh(u)^2), which underflows as written
    log_jacobian = 2.0 * (np.log(2.0) - np.abs(u) - np.log1p(np.exp(-2.0 * np.abs(u))))
    log_normal = _normal_log_prob(u, _unsquash_median(median) + shift, scale)
    return np.asarray((log_normal - log_jacobian).sum(axis=-1))


def mixture_log_prob(log_probs: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """Returns the log-density of a mixture: the logarithm of the mean density, not the mean of logarithms.

    Args:
      log_probs: log-densities of the components. Shape `[..., C]`.
      log_weights: logarithms of their normalised weights. Broadcasts with `log_probs`.

    Returns:
      Shape `[...]`.
    """
    return np.asarray(logsumexp(log_probs + log_weights, axis=-1))


def _normal_log_prob(value: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return -0.5 * ((value - mean) / scale) ** 2 - np.log(scale) - _LOG_SQRT_2PI


def _unsquash_median(median: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(median, -LARGEST_MEDIAN, LARGEST_MEDIAN))


def _unsquash(action: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(action, -_LARGEST, _LARGEST))
