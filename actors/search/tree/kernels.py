"""Which inner loops tree search runs: compiled ones where numba is installed, numpy's elsewhere."""

import importlib.util
from typing import Any

from actors.search.tree import numpy_kernels

Kernels = Any
"""A module with the functions of `numpy_kernels`."""


def find_kernels() -> Kernels:
    """Returns `numba_kernels` where numba is installed (the extra `fast`), else `numpy_kernels`."""
    if importlib.util.find_spec("numba") is None:
        return numpy_kernels
    from actors.search.tree import numba_kernels

    return numba_kernels
