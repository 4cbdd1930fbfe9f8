"""In which order sequential halving visits its candidates.

Source: Karnin et al. (2013), "Almost optimal exploration in multi-armed bandits"; Danihelka et al. (2022),
Alg. 2, in the form of mctx: at simulation `t` the visited action is one of those with `considered[t]` visits
so far.
"""

import functools
import math

import numpy as np


@functools.lru_cache(maxsize=256)
def considered_visits(num_considered: int, num_simulations: int) -> tuple[int, ...]:
    """Returns the number of visits that the action of each simulation has had before.

    Args:
      num_considered: actions that take part at first, `m`.
      num_simulations: length of the schedule.

    Returns:
      `num_simulations` counts; `0, 1, 2, ...` for one action.
    """
    if num_considered <= 1:
        return tuple(range(num_simulations))
    num_rounds = math.ceil(math.log2(num_considered))
    visits = [0] * num_considered
    sequence: list[int] = []
    remaining = num_considered
    while len(sequence) < num_simulations:
        for _ in range(max(1, num_simulations // (num_rounds * remaining))):
            sequence += visits[:remaining]
            visits[:remaining] = [count + 1 for count in visits[:remaining]]
        remaining = max(2, remaining // 2)
    return tuple(sequence[:num_simulations])


@functools.lru_cache(maxsize=256)
def halving_plan(counts: tuple[int, ...], num_simulations: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Returns the schedules of roots with different numbers of candidates, and where these go on together.

    Args:
      counts: actions that take part at first, of each kind of root.
      num_simulations: length of the schedules.

    Returns:
      Their `considered_visits`, shape `[num_simulations, len(counts)]`; and for each simulation the first one
      after it at which one of the schedules changes.
    """
    plan = np.array([considered_visits(count, num_simulations) for count in counts]).T
    ends = [num_simulations] * num_simulations
    for simulation in range(num_simulations - 2, -1, -1):
        is_same = (plan[simulation] == plan[simulation + 1]).all()
        ends[simulation] = ends[simulation + 1] if is_same else simulation + 1
    return plan, tuple(ends)
