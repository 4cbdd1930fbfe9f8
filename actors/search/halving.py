"""Sequential halving: rollouts go round by round to the better half of the candidates.

Source: Karnin et al. (2013), "Almost Optimal Exploration in Multi-Armed Bandits", Section 3. Departure: the
rollouts of each round are given, not derived from a total budget, and never fewer than two candidates stay,
so that the last comparison is between equally well known ones (as in `mctx`'s Gumbel MuZero).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from distill_rl.checks import check_shape


@dataclasses.dataclass(frozen=True)
class HalvingRound:
    """One round: every candidate left gets the same number of rollouts.

    Attributes:
      num_candidates: candidates of each root that take part.
      num_rollouts: rollouts of each of them.
    """

    num_candidates: int
    num_rollouts: int


def halving_schedule(num_candidates: int, rollouts_per_round: Sequence[int]) -> tuple[HalvingRound, ...]:
    """Returns the rounds: all candidates, then half of them (rounded down, never below two), and so on.

    Args:
      num_candidates: candidates of each root, at least 1.
      rollouts_per_round: rollouts of each candidate in each round, at least 1 each.

    Returns:
      One entry for each round.

    Raises:
      ValueError: if a number is below 1, or no round is given.
    """
    if num_candidates < 1:
        raise ValueError(f"`num_candidates` must be at least 1, got {num_candidates}")
    if not rollouts_per_round or min(rollouts_per_round) < 1:
        raise ValueError(
            f"`rollouts_per_round` must be one or more numbers of at least 1, got {rollouts_per_round}"
        )
    rounds = []
    for num_rollouts in rollouts_per_round:
        rounds.append(HalvingRound(num_candidates, num_rollouts))
        num_candidates = min(num_candidates, max(2, num_candidates // 2))
    return tuple(rounds)


def keep_best(candidates: np.ndarray, q_values: np.ndarray, num_kept: int) -> np.ndarray:
    """Keeps the candidates of largest value, root by root.

    Args:
      candidates: indices of the candidates still in. Shape `[B, k]`.
      q_values: values of all candidates; non-finite ones rank last. Shape `[B, N]`.
      num_kept: how many stay, at most `k`. Ties go to the one that stands first.

    Returns:
      Indices of those that stay, in their old order. Shape `[B, num_kept]`.

    Raises:
      ValueError: if `num_kept` is not within 1 to `k`, or the shapes disagree.
    """
    check_shape("q_values", q_values, (len(candidates), None))
    if not 1 <= num_kept <= candidates.shape[1]:
        raise ValueError(f"`num_kept` must be within 1 to {candidates.shape[1]}, got {num_kept}")
    values = np.take_along_axis(q_values, candidates, axis=1)
    ranking = np.argsort(-np.where(np.isfinite(values), values, -np.inf), axis=1, kind="stable")
    kept = np.sort(ranking[:, :num_kept], axis=1)
    return np.take_along_axis(candidates, kept, axis=1)
