"""Checks of arguments, in one line at the entry of public functions."""

import difflib
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_FLOATING_KINDS = ("float16", "bfloat16", "float32", "float64")


def check_shape(name: str, array: Any, shape: tuple[int | None, ...]) -> None:
    """Checks that `array` has `shape`, where `None` stands for any length.

    Args:
      name: name of the argument, for the message.
      array: numpy array or torch tensor.
      shape: expected shape.

    Raises:
      ValueError: if the rank or any fixed length differs.
    """
    actual = tuple(array.shape)
    if len(actual) != len(shape) or any(e is not None and e != a for e, a in zip(shape, actual, strict=True)):
        expected = "[" + ", ".join("any" if e is None else str(e) for e in shape) + "]"
        raise ValueError(f"`{name}` must have shape {expected}, got {list(actual)}")


def check_floating(name: str, array: Any) -> None:
    """Checks that `array` holds floating-point numbers.

    Raises:
      ValueError: if its dtype is not a floating one.
    """
    dtype = _dtype_name(array.dtype)
    if dtype not in _FLOATING_KINDS:
        raise ValueError(f"`{name}` must have a floating dtype, got {dtype}")


@functools.cache  # numpy makes the name anew each time, which takes longer than a look at a small array
def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def check_finite(name: str, array: Any) -> None:
    """Checks that `array` has neither NaN nor infinities.

    Raises:
      ValueError: if it has, saying how many and where the first one is.
    """
    values = np.asarray(array)
    is_finite = np.isfinite(values)
    if not is_finite.all():
        bad = ~is_finite
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"`{name}` must be finite, got {int(bad.sum())} non-finite values, first at {first}")


def check_positive(name: str, value: float) -> None:
    """Checks that a scalar is positive and finite.

    Raises:
      ValueError: if it is not.
    """
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be positive, got {value}")


def check_at_least_one(name: str, value: int) -> None:
    """Checks that a count is an integer of at least 1.

    Raises:
      ValueError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1, got {value!r}")


def check_not_negative(name: str, value: float) -> None:
    """Checks that a scalar is finite and not negative.

    Raises:
      ValueError: if it is not.
    """
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"`{name}` must not be negative, got {value}")


def check_decay(name: str, value: float) -> None:
    """Checks that the decay of an average lies within [0, 1), below 1 so that the average moves.

    Raises:
      ValueError: if it does not.
    """
    if not 0.0 <= value < 1.0:
        raise ValueError(f"`{name}` must lie in [0, 1), got {value}")


def check_widths(name: str, widths: Sequence[int]) -> None:
    """Checks the widths of hidden layers: one layer or more, of one unit or more.

    Raises:
      ValueError: if there is none, or one is not positive.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"`{name}` must be positive widths, got {widths}")


def check_fraction(name: str, value: float) -> None:
    """Checks that a scalar lies within [0, 1].

    Raises:
      ValueError: if it does not.
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"`{name}` must be within [0, 1], got {value}")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Checks that `value` is one of `choices`.

    Raises:
      ValueError: if it is not, naming the nearest choice.
    """
    choices = sorted(choices)
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(choices)}; got {value!r}{nearest(value, choices)}"
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns `" (did you mean 'x'?)"` for the known word closest to `word`, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
