"""What the native MuJoCo simulator asks of a task: observations, rewards, terminations of many states."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from actors.simulators.sensors import SensorColumns


@dataclasses.dataclass(frozen=True)
class PhysicsBatch:
    """Physics of many states; every array shares the leading dimensions `[...]`.

    Attributes:
      qpos: positions.
      qvel: velocities.
      parameters: what the episode fixed outside the physics state (`MujocoTask.parameters`).
      force_sensors: by name, sensors as the last substep left them: acceleration-stage ones (touch, force,
        accelerometer), and position-stage ones where the environment too reads them one substep late.
      state_sensors: by name, position- and velocity-stage sensors of this state. Empty where only an
        observation is asked for, unless the task `observes_sensors`: MuJoCo computes them one substep late,
        and only rewards wait for them.
    """

    qpos: np.ndarray  # [..., nq]
    qvel: np.ndarray  # [..., nv]
    parameters: np.ndarray  # [..., P]
    force_sensors: Mapping[str, np.ndarray]  # [..., dim of the sensor]
    state_sensors: Mapping[str, np.ndarray]  # [..., dim of the sensor]


class MujocoTask(abc.ABC):
    """Observation, reward and termination of one environment, vectorised over leading dimensions.

    A task is built from a live environment and reproduces its arithmetic operation by operation. It must not
    read anything that is missing from `PhysicsBatch`; quantities such as body positions become sensors of
    `model`.

    Attributes:
      model: a private model to simulate, equal in its dynamics to the environment's. The simulator owns it.
      num_substeps: physics steps in one control step of the environment, without action repeat.
      observation_size: `O`.
      state_sensors: names of the position- and velocity-stage sensors of `model` that `reward` reads. With
        none, rewards are functions of positions and velocities, and the simulator saves their time.
      observes_sensors: whether `observe` reads `state_sensors` too. Every control step of a closed loop then
        computes them.
      force_sensors: names of the sensors read as the last substep left them. Where the live environment has
        them not, `live_force_sensors` must give their values.
      parameter_size: length `P` of `parameters`.
    """

    model: mujoco.MjModel
    num_substeps: int
    observation_size: int
    state_sensors: tuple[str, ...] = ()
    observes_sensors: bool = False
    force_sensors: tuple[str, ...] = ()
    parameter_size: int = 0

    def parameters(self, env: Any) -> np.ndarray:
        """Returns what the live episode fixed outside its physics state. Shape `[P]`."""
        return np.zeros(0)

    def live_force_sensors(self, model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
        """Returns the values of `force_sensors` in a live environment, sensor after sensor. Shape `[D]`."""
        return data.sensordata[SensorColumns(model, self.force_sensors).indices]

    def fast_state_sensors(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray | None:
        """Returns `state_sensors` as functions of positions and velocities, equal to rounding, if it can.

        Where a state is reached by a single step, or in a closed loop, they spare the time that MuJoCo takes
        to compute them. Shapes `[..., nq]`, `[..., nv]` to `[..., D]`.
        """
        return None

    @abc.abstractmethod
    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns the environment's flat observation. Shape `[..., O]`."""

    @abc.abstractmethod
    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns the reward of one control step, action repeat aside.

        Args:
          physics: states after the step.
          previous: states before the step (its `state_sensors` are available too).
          control: what the environment received, in the dtype it received. Shape `[..., nu]`.

        Returns:
          Rewards, float64. Shape `[...]`.
        """

    def terminated(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns whether the episode ended in these states (time limits aside). Shape `[...]`, bool."""
        return np.zeros(physics.qpos.shape[:-1], bool)
