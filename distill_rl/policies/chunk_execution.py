"""Acting by chunks of actions: plan, act out the first of them, plan again."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from distill_rl.checks import check_at_least_one

_ONLY = ("",)


class ChunkExecutor:
    """Holds what is left of the chunk of every running episode. The policy itself remembers nothing.

    Args:
      plan_fn: observations `[M, O]` to chunks `[M, T, A]`.
      exec_horizon: actions of a chunk that are acted out before the next one is planned: 1 replans at every
        step, `T` follows the whole chunk.

    Raises:
      ValueError: if `exec_horizon` is below 1.
    """

    def __init__(self, plan_fn: Callable[[np.ndarray], np.ndarray], exec_horizon: int = 1):
        check_at_least_one("exec_horizon", exec_horizon)
        self._plan_fn, self._exec_horizon = plan_fn, exec_horizon
        self._left: dict[Hashable, np.ndarray] = {}

    def reset(self) -> None:
        """Forgets all chunks, before the first step of an episode."""
        self._left.clear()

    def act(self, observation: np.ndarray, episodes: Sequence[Hashable] | None = None) -> np.ndarray:
        """Returns the next action of each episode.

        Args:
          observation: shape `[M, O]`, or `[O]` for a single episode.
          episodes: what tells the episodes apart, one for each row; those not named are forgotten. None for
            a single one, which `reset` starts anew.

        Returns:
          Shape `[M, A]`, or `[A]`.

        Raises:
          ValueError: if the episodes are not as many as the rows, or chunks are shorter than `exec_horizon`.
        """
        observation = np.asarray(observation)
        rows = np.atleast_2d(observation)
        names = tuple(_ONLY if episodes is None else episodes)
        if len(names) != len(rows) or len(set(names)) != len(names):
            raise ValueError(f"`episodes` must name each of {len(rows)} rows once, got {list(names)}")
        self._left = {name: left for name, left in self._left.items() if name in names}
        due = [row for row, name in enumerate(names) if name not in self._left]
        if due:
            self._plan(rows, names, due)
        actions = np.stack([self._left[name][0] for name in names])
        self._left = {name: left[1:] for name, left in self._left.items() if len(left) > 1}
        return actions if observation.ndim == 2 else actions[0]

    def _plan(self, rows: np.ndarray, names: tuple[Hashable, ...], due: list[int]) -> None:
        chunks = self._plan_fn(rows[due])
        if chunks.shape[1] < self._exec_horizon:
            raise ValueError(
                f"`exec_horizon` must be at most {chunks.shape[1]}, the actions of a chunk; "
                f"got {self._exec_horizon}"
            )
        for row, chunk in zip(due, chunks):
            self._left[names[row]] = chunk[: self._exec_horizon]
