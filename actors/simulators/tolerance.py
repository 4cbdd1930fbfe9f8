"""The reward shape of the DeepMind Control Suite, for arrays of any shape.

Source: Tassa et al. (2018), DeepMind Control Suite, https://arxiv.org/abs/1801.00690; the arithmetic follows
`dm_control.utils.rewards.tolerance` operation by operation, so values agree bit for bit.
"""

from typing import Literal

import numpy as np

from distill_rl.checks import check_choice

Sigmoid = Literal["gaussian", "linear", "quadratic"]


def tolerance(
    x: np.ndarray,
    bounds: tuple[float, float] = (0.0, 0.0),
    *,
    margin: float = 0.0,
    sigmoid: Sigmoid = "gaussian",
    value_at_margin: float = 0.1,
) -> np.ndarray:
    """Returns 1 inside the bounds, falling to `value_at_margin` at a distance `margin` outside them.

    Args:
      x: any shape `[...]`.
      bounds: inclusive lower and upper end of the target interval, either may be infinite.
      margin: >= 0, in the units of `x`; 0 gives an indicator function.
      sigmoid: shape of the decrease: one of the three that the supported tasks use.
      value_at_margin: in (0, 1), or 0 for the linear and quadratic shapes.

    Returns:
      Values in [0, 1]. Shape `[...]`.

    Raises:
      ValueError: if the bounds are reversed, the margin is negative or the sigmoid unknown.
    """
    lower, upper = bounds
    if lower > upper:
        raise ValueError(f"`bounds` must be (lower, upper) with lower <= upper, got {bounds}")
    if margin < 0:
        raise ValueError(f"`margin` must not be negative, got {margin}")
    in_bounds = (lower <= x) & (x <= upper)
    if margin == 0:
        return np.where(in_bounds, 1.0, 0.0)
    distance = np.where(x < lower, lower - x, x - upper) / margin
    return np.where(in_bounds, 1.0, _decrease(distance, value_at_margin, sigmoid))


def _decrease(distance: np.ndarray, value_at_1: float, sigmoid: Sigmoid) -> np.ndarray:
    """Returns 1 at distance 0 and `value_at_1` at distance 1. Shape of `distance`."""
    check_choice("sigmoid", sigmoid, ("gaussian", "linear", "quadratic"))
    if sigmoid == "gaussian":
        return np.exp(-0.5 * (distance * np.sqrt(-2 * np.log(value_at_1))) ** 2)
    scaled = distance * (1 - value_at_1 if sigmoid == "linear" else np.sqrt(1 - value_at_1))
    value = 1 - (scaled if sigmoid == "linear" else scaled**2)
    return np.where(abs(scaled) < 1, value, 0.0)
