"""Recompiles a model with added sensors, so that native rollouts return quantities a reward reads.

`mujoco.rollout` returns states and sensors only. Sensors do not enter the dynamics: trajectories of the
recompiled model are equal bit for bit to the original's.
"""

import copy
from collections.abc import Mapping
from typing import NamedTuple

import mujoco
import numpy as np

_COMPILED_NAMES = ("name", "sensor", "paths")
"""Prefixes of the model arrays that describe names and sensors, where the two models may differ."""


class SensorSpec(NamedTuple):
    """A sensor to add: its name, and what it measures of which object."""

    name: str
    sensor_type: mujoco.mjtSensor
    object_type: mujoco.mjtObj
    object_name: str


def frame_position(object_type: mujoco.mjtObj, object_name: str) -> SensorSpec:
    """Returns a sensor of the world position of a frame: `xpos`, `xipos`, `geom_xpos` or `site_xpos`."""
    name = f"{object_name}_{object_type.name.removeprefix('mjOBJ_').lower()}_position"
    return SensorSpec(name, mujoco.mjtSensor.mjSENS_FRAMEPOS, object_type, object_name)


_AXES = {
    "x": mujoco.mjtSensor.mjSENS_FRAMEXAXIS,
    "y": mujoco.mjtSensor.mjSENS_FRAMEYAXIS,
    "z": mujoco.mjtSensor.mjSENS_FRAMEZAXIS,
}


def frame_axis(body_name: str, axis: str = "z") -> SensorSpec:
    """Returns a sensor of a body's axis in the world: of z, `(xz, yz, zz)` of its `xmat`."""
    return SensorSpec(f"{body_name}_{axis}_axis", _AXES[axis], mujoco.mjtObj.mjOBJ_XBODY, body_name)


def augment_model(
    model: mujoco.MjModel, xml: str, assets: Mapping[str, bytes], sensors: tuple[SensorSpec, ...]
) -> mujoco.MjModel:
    """Returns a copy of a live model with added sensors.

    Args:
      model: the live model; its current numbers (masses, gains, options) are kept.
      xml: the source the live model was compiled from.
      assets: files that the source includes, by name.
      sensors: what to add, after the model's own sensors.

    Returns:
      The new model.

    Raises:
      ValueError: if the source does not describe the live model.
    """
    if not sensors:
        return copy.copy(model)
    files = {name.removeprefix("./"): content for name, content in assets.items()}
    spec = mujoco.MjSpec.from_string(xml, include=files, assets=files)
    for sensor in sensors:
        spec.add_sensor(
            name=sensor.name,
            type=sensor.sensor_type,
            objtype=sensor.object_type,
            objname=sensor.object_name,
        )
    augmented = spec.compile()
    sizes = ("nq", "nv", "nu", "na", "nbody", "ngeom", "nsite", "njnt", "ntendon")
    if any(getattr(model, size) != getattr(augmented, size) for size in sizes):
        raise ValueError("`xml` must describe the live model, got a model of other sizes")
    _copy_numbers(model, augmented)
    return augmented


def _copy_numbers(source: mujoco.MjModel, target: mujoco.MjModel) -> None:
    """Copies every array of `source` that is not about names or sensors, and its options."""
    for holder, other in ((source, target), (source.opt, target.opt)):
        for field in dir(holder):
            if field.startswith(("_", *_COMPILED_NAMES)):
                continue
            value = getattr(holder, field)
            if isinstance(value, np.ndarray):
                getattr(other, field)[...] = value
            elif holder is source.opt and isinstance(value, (int, float)):
                setattr(other, field, value)
