"""What an episode changes in its MuJoCo model: a target's place, a terrain, a gain."""

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np

Edits = dict[str, Any]
"""New values of model fields, by name; those of the options are called `opt.name`."""

_CONSTANT_PREFIXES = ("_", "bvh_", "mesh_", "name", "oct_", "paths", "skin_", "tex_", "text_")
"""Geometry, looks and names, which are large and which no episode changes."""

_CONSTANT_OPTIONS = ("disableflags",)
"""Set by the simulator itself."""


class ModelEdits:
    """Finds and applies the differences of models to a reference, of which they are copies.

    Attributes:
      model: the model that edits are applied to.
    """

    def __init__(self, model: mujoco.MjModel):
        """Takes the present values of `model` as the reference."""
        self.model = model
        self._fields = list(_field_names(model))
        self._reference = {name: np.copy(_get(model, name)) for name in self._fields}
        self._applied: Edits = {}

    def find(self, live: mujoco.MjModel) -> Edits:
        """Returns the fields in which a live model differs from the reference."""
        edits = {}
        for name in self._fields:
            value = _get(live, name)
            if not np.array_equal(value, self._reference[name]):
                edits[name] = np.copy(value)
        return edits

    def apply(self, edits: Edits) -> None:
        """Brings `model` to the reference with these edits; free of cost if they are already in place."""
        if edits is self._applied:
            return
        for name in self._applied.keys() - edits.keys():
            _set(self.model, name, self._reference[name])
        for name, value in edits.items():
            _set(self.model, name, value)
        self._applied = edits


def _field_names(model: mujoco.MjModel) -> Iterator[str]:
    for name in dir(model):
        if not name.startswith(_CONSTANT_PREFIXES) and isinstance(getattr(model, name), np.ndarray):
            yield name
    for name in dir(model.opt):
        is_constant = name.startswith("_") or name in _CONSTANT_OPTIONS
        if not is_constant and isinstance(getattr(model.opt, name), (np.ndarray, int, float)):
            yield f"opt.{name}"


def _get(model: mujoco.MjModel, name: str) -> Any:
    holder, _, option = name.partition(".")
    return getattr(model.opt, option) if option else getattr(model, holder)


def _set(model: mujoco.MjModel, name: str, value: np.ndarray) -> None:
    current = _get(model, name)
    if isinstance(current, np.ndarray):
        current[...] = value
    else:
        setattr(model.opt, name.removeprefix("opt."), value.item())
