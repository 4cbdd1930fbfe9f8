"""Picks named sensors out of MuJoCo's flat sensor array."""

from collections.abc import Mapping

import mujoco
import numpy as np


class SensorColumns:
    """The columns that a group of named sensors takes of `sensordata`.

    Attributes:
      indices: the columns, sensor after sensor. Shape `[D]`.
      columns: the same, as a slice where they stand side by side (which is faster to pick).
    """

    def __init__(self, model: mujoco.MjModel, names: tuple[str, ...]):
        """Looks the sensors up.

        Raises:
          KeyError: from MuJoCo, if the model has no sensor of a name.
        """
        ranges = [np.arange(s.adr[0], s.adr[0] + s.dim[0]) for s in map(model.sensor, names)]
        ends = np.cumsum([0, *map(len, ranges)])
        self.indices = np.concatenate([np.zeros(0, int), *ranges])
        self.columns: slice | np.ndarray = self.indices
        if len(self.indices) and (np.diff(self.indices) == 1).all():
            self.columns = slice(int(self.indices[0]), int(self.indices[-1]) + 1)
        self._slices = {
            name: slice(start, stop) for name, start, stop in zip(names, ends[:-1], ends[1:], strict=True)
        }

    def __len__(self) -> int:
        """Returns the number of columns `D`."""
        return len(self.indices)

    def by_name(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        """Splits picked values `[..., D]` into one array `[..., dim]` for each sensor."""
        return {name: values[..., columns] for name, columns in self._slices.items()}
