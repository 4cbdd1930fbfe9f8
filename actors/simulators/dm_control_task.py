"""What the vectorised dm_control tasks share."""

import abc
import sys
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from dm_control.rl import control as dm_control_rl

from actors.simulators.augmented_model import SensorSpec, augment_model
from actors.simulators.task import MujocoTask, PhysicsBatch
from actors.simulators.tolerance import tolerance


class DmControlTask(MujocoTask):
    """A `MujocoTask` of a dm_control environment behind shimmy.

    Attributes:
      task_names: the (domain, task) pairs it covers.
      sensors: sensors added to the model.
    """

    task_names: ClassVar[tuple[tuple[str, str], ...]]
    sensors: tuple[SensorSpec, ...] = ()

    def __init__(self, environment: dm_control_rl.Environment):
        """Reads the model, the timing and the task's settings from a live environment."""
        physics = environment.physics
        self.model = augment_model(physics.model.ptr, *self.model_source(environment), self.sensors)
        self.num_substeps = round(environment.control_timestep() / physics.timestep())
        self.observation_size = sum(
            int(np.prod(spec.shape, dtype=int)) for spec in environment.observation_spec().values()
        )
        self.configure(environment.task)

    @classmethod
    @abc.abstractmethod
    def dm_task_type(cls) -> type:
        """Returns the dm_control task class whose instances this one vectorises."""

    @classmethod
    def supports(cls, environment: dm_control_rl.Environment) -> bool:
        """Returns whether this class vectorises the task of a live environment.

        Tasks are recognised by their exact class. One that leaves derived quantities behind after a step
        (`legacy_step=False`) observes other values, and is not supported.
        """
        return type(environment.task) is cls.dm_task_type() and environment.physics.legacy_step

    @classmethod
    def model_source(cls, environment: dm_control_rl.Environment) -> tuple[str, dict[str, bytes]]:
        """Returns the XML of the domain and the files it includes."""
        xml, assets = sys.modules[cls.dm_task_type().__module__].get_model_and_assets()
        return xml, assets

    def configure(self, task: Any) -> None:
        """Reads settings (a target speed, say) from the live dm_control task."""


def dm_control_environment(env: gym.Env) -> dm_control_rl.Environment | None:
    """Returns the dm_control environment behind a Gymnasium one, or None."""
    environment = getattr(env.unwrapped, "_env", None)
    return environment if isinstance(environment, dm_control_rl.Environment) else None


def small_control(control: np.ndarray) -> np.ndarray:
    """Returns dm_control's quadratic preference for small controls, before averaging. Shape `[..., nu]`."""
    return tolerance(control.astype(np.float64), margin=1, value_at_margin=0, sigmoid="quadratic")


def euclidean_norm(vector: np.ndarray) -> np.ndarray:
    """Returns the length of vectors `[..., D]`, bit for bit `np.linalg.norm` of each. Shape `[...]`."""
    return np.sqrt(np.vecdot(vector, vector))


def log_touch(physics: PhysicsBatch, names: tuple[str, ...]) -> np.ndarray:
    """Returns `log(1 + force)` of touch sensors. Shape `[..., number of names]`."""
    return np.log1p(np.concatenate([physics.force_sensors[name] for name in names], axis=-1))
