"""In which order sequential halving visits its candidates.

Source: Karnin et al. (2013), "Almost optimal exploration in multi-armed bandits"; Danihelka et al. (2022),
Alg. 2, in the form of mctx: at simulation `t` the visited action is one of those with `considered[t]` visits
so far.
"""

import functools
import math


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
