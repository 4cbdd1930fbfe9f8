"""Every check lets through what it should, and names what it should not."""

import numpy as np
import pytest
import torch

from distill_rl import checks

_NAN, _INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("check", "good", "bad", "message"),
    [
        (checks.check_positive, (1e-9, 3), (0.0, -1.0, _NAN, _INF), "`x` must be positive"),
        (checks.check_not_negative, (0.0, 1e9), (-1e-9, _NAN, _INF), "`x` must not be negative"),
        (checks.check_at_least_one, (1, 7), (0, 1.0, True, None), "`x` must be an integer of at least 1"),
        (checks.check_fraction, (0.0, 1.0), (-0.1, 1.1, _NAN), r"`x` must be within \[0, 1\]"),
        (checks.check_decay, (0.0, 0.999), (-0.1, 1.0, _NAN), r"`x` must lie in \[0, 1\)"),
        (checks.check_widths, ((1,), [8, 4]), ((), (8, 0)), "`x` must be positive widths"),
    ],
)
def test_ranges(check, good, bad, message):
    """The ends of each range, and what is no number."""
    for value in good:
        check("x", value)
    for value in bad:
        with pytest.raises(ValueError, match=f"^{message}, got "):
            check("x", value)


@pytest.mark.parametrize("zeros", [np.zeros, torch.zeros])
def test_shapes(zeros):
    """Rank and every fixed length count; None stands for any."""
    checks.check_shape("x", zeros((2, 3)), (None, 3))
    for shape in ((None,), (2, None, 3), (3, 3), (2, 1)):
        with pytest.raises(ValueError, match=r"`x` must have shape \[.*\], got \[2, 3\]"):
            checks.check_shape("x", zeros((2, 3)), shape)


def test_contents():
    """Dtypes of both libraries; how many entries are not finite, and where the first one is."""
    for array in (np.zeros(2, np.float32), torch.zeros(2, dtype=torch.bfloat16)):
        checks.check_floating("x", array)
    for array in (np.zeros(2, np.int64), torch.zeros(2, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"`x` must have a floating dtype, got (int64|bool)"):
            checks.check_floating("x", array)
    checks.check_finite("x", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"`x` must be finite, got 2 non-finite values, first at \(0, 1\)"):
        checks.check_finite("x", np.array([[0.0, _NAN], [_INF, 0.0]]))


def test_choices():
    """The nearest one is named, if there is one."""
    checks.check_choice("x", "heun", ("euler", "heun"))
    with pytest.raises(ValueError, match=r"one of euler, heun; got 'huen' \(did you mean 'heun'\?\)"):
        checks.check_choice("x", "huen", ("heun", "euler"))
    with pytest.raises(ValueError, match=r"got 'zzz'$"):
        checks.check_choice("x", "zzz", ("heun", "euler"))
