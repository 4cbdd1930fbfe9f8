"""A ring of reference sets."""

from typing import Any

import numpy as np

from distill_rl.types import Convention, ReferenceSet

_MOST_OF_THE_MEAN = 5.0
"""Improvements count up to this multiple of their mean: a few large ones must not fill the batches."""


class ReferenceReplay:
    """Keeps the newest `capacity` states with their reference sets, in float32.

    Shapes and the convention are fixed by the first set added. Not thread-safe.

    Args:
      capacity: states kept.

    Raises:
      ValueError: if `capacity` is below 1.
    """

    def __init__(self, capacity: int):
        if capacity < 1:
            raise ValueError(f"`capacity` must be at least 1, got {capacity}")
        self.capacity = capacity
        self.num_added = 0
        self._convention: Convention = "mass"
        self._arrays: dict[str, np.ndarray] = {}
        self._versions = np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Returns the number of states held."""
        return min(self.num_added, self.capacity)

    def add(self, reference_set: ReferenceSet) -> None:
        """Appends every state of a set of numpy arrays, over the oldest ones when full.

        Raises:
          ValueError: if the set breaks the contract of `ReferenceSet`, or differs from the first set in
            shape or convention.
        """
        reference_set.validate()
        if not self._arrays:
            self._allocate(reference_set)
        self._check_alike(reference_set)
        # Only the newest `capacity` rows of an oversized set would survive.
        skipped = max(0, len(reference_set) - self.capacity)
        rows = np.arange(self.num_added + skipped, self.num_added + len(reference_set)) % self.capacity
        for name, array in reference_set.to_arrays().items():
            self._arrays[name][rows] = array[skipped:]
        self._versions[rows] = reference_set.policy_version
        self.num_added += len(reference_set)

    def sample(
        self,
        batch_size: int,
        generator: np.random.Generator,
        priority: float = 0.0,
    ) -> ReferenceSet:
        """Draws states with replacement, more often where the search improved much on the policy.

        State i is drawn with probability in proportion to `1 - priority + priority min(d_i / mean(d), 5)`,
        with the improvement `d_i = max(value_i - policy_value_i, 0)`: most states of good behaviour have
        little to learn from, while those at the edge of what the policy can do are rare. Like prioritised
        replay (Schaul et al. 2016, arXiv:1511.05952), without its importance weights: each label is a
        target of its own state only.

        Args:
          batch_size: states to draw.
          generator: source of the draw.
          priority: 0 for uniform draws, to 1.

        Returns:
          A set of `batch_size` states, in numpy arrays; its `policy_version` is that of the oldest of them.

        Raises:
          ValueError: if the replay is empty.
        """
        if len(self) == 0:
            raise ValueError("`sample` needs at least one state in the replay, got an empty one")
        rows = self._draw_rows(batch_size, generator, priority)
        arrays = {name: array[rows] for name, array in self._arrays.items()}
        version = int(self._versions[rows].min())
        return ReferenceSet.from_arrays(arrays, version, self._convention)

    def _draw_rows(self, batch_size: int, generator: np.random.Generator, priority: float) -> np.ndarray:
        if priority == 0.0:
            return generator.integers(len(self), size=batch_size)
        held = slice(len(self))
        improvement = np.maximum(self._arrays["value"][held] - self._arrays["policy_value"][held], 0.0)
        scale = max(float(improvement.mean()), np.finfo(np.float32).tiny)
        weights = 1.0 - priority + priority * np.minimum(improvement / scale, _MOST_OF_THE_MEAN)
        cumulative = weights.cumsum(dtype=np.float64)
        if cumulative[-1] == 0.0:  # nothing improved, and nothing else counts
            return generator.integers(len(self), size=batch_size)
        drawn = np.searchsorted(cumulative, generator.random(batch_size) * cumulative[-1], side="right")
        return np.minimum(drawn, len(self) - 1)

    def state_dict(self) -> dict[str, Any]:
        """Returns a copy of the contents.

        Returns:
          `arrays` by name, one row for each state held, and their `versions`, in the order of the ring;
          `num_added`, `capacity` and `convention`.
        """
        held = {name: array[: len(self)].copy() for name, array in self._arrays.items()}
        return {
            "arrays": held,
            "versions": self._versions[: len(self)].copy(),
            "num_added": self.num_added,
            "capacity": self.capacity,
            "convention": self._convention,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores contents saved by `state_dict`.

        Raises:
          ValueError: if they were saved by a replay of another capacity.
        """
        if state["capacity"] != self.capacity:
            raise ValueError(f"`capacity` of the state must be {self.capacity}, got {state['capacity']}")
        self.num_added = int(state["num_added"])
        self._convention = state["convention"]
        self._arrays = {}
        for name, held in state["arrays"].items():
            self._arrays[name] = np.zeros((self.capacity, *held.shape[1:]), np.float32)
            self._arrays[name][: len(held)] = held
        self._versions = np.zeros(self.capacity, np.int64)
        self._versions[: len(state["versions"])] = state["versions"]

    def _allocate(self, first: ReferenceSet) -> None:
        # Pages of zeros cost no memory until they are written.
        self._arrays = {
            name: np.zeros((self.capacity, *array.shape[1:]), np.float32)
            for name, array in first.to_arrays().items()
        }
        self._versions = np.zeros(self.capacity, np.int64)
        self._convention = first.convention

    def _check_alike(self, reference_set: ReferenceSet) -> None:
        if reference_set.convention != self._convention:
            raise ValueError(
                f"`convention` must stay {self._convention!r}, that of the first set, "
                f"got {reference_set.convention!r}"
            )
        added = reference_set.to_arrays()
        if added.keys() != self._arrays.keys():
            differing = sorted({name.partition("/")[0] for name in added.keys() ^ self._arrays.keys()})
            raise ValueError(
                f"`{differing[0]}` must be given in all sets or in none, as in the first with "
                f"{list(self._arrays)}, got {list(added)}"
            )
        for name, array in self._arrays.items():
            shape = tuple(added[name].shape[1:])
            if shape != array.shape[1:]:
                raise ValueError(
                    f"`{name}` must have rows of shape {list(array.shape[1:])}, that of the first set, "
                    f"got {list(shape)}"
                )
