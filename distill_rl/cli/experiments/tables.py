"""How numbers stand in the tables of experiments."""

from collections.abc import Sequence

import numpy as np


def spread(values: Sequence[float | None], form: str = ".1f") -> str:
    """Writes the mean of several runs, with the smallest and the largest; a dash where one is unknown.

    Args:
      values: one for each run.
      form: of each number, as in format strings.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "-"
    mean = f"{np.mean(known):{form}}"
    return mean if len(known) == 1 else f"{mean} ({min(known):{form}} to {max(known):{form}})"
