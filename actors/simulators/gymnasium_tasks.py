"""Vectorised tasks of Gymnasium's MuJoCo environments, version 5.

Formulas follow `gymnasium.envs.mujoco` operation by operation, so rewards agree bit for bit; weights and
healthy ranges are those of the live environment. Ant and Humanoid (contact forces) and Reacher (positions
that its Runge-Kutta integrator leaves between two steps) read what native rollouts do not return: they have
no vectorised task.
"""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.envs.mujoco.pusher_v5 import PusherEnv
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from actors.simulators.augmented_model import SensorSpec, augment_model, frame_position
from actors.simulators.dm_control_task import euclidean_norm
from actors.simulators.task import MujocoTask, PhysicsBatch


class GymnasiumTask(MujocoTask):
    """A `MujocoTask` of a Gymnasium environment.

    Attributes:
      env_type: the class it covers; subclasses, which may do anything, are not covered.
      sensors: sensors added to the model.
    """

    env_type: ClassVar[type[gym.Env]]
    sensors: tuple[SensorSpec, ...] = ()

    def __init__(self, env: Any):
        """Reads the model, the timing and the constructor's settings from a live environment, unwrapped."""
        source = Path(env.fullpath).read_text() if self.sensors else ""
        self.model = augment_model(env.model, source, {}, self.sensors)
        self.num_substeps = env.frame_skip
        self.observation_size = env.observation_space.shape[0]
        self._dt_sec = env.dt
        self.configure(env)

    def configure(self, env: Any) -> None:
        """Reads settings from the live environment."""


class ForwardTask(GymnasiumTask):
    """Reward: `forward_weight * dx / dt - control_weight * |action|^2`.

    Attributes:
      num_hidden: leading positions that are left out of observations, if any are.
    """

    num_hidden: ClassVar[int] = 1

    def configure(self, env: Any) -> None:
        """Reads the weights, and whether observations hold the positions in the plane."""
        self._forward_weight = env._forward_reward_weight
        self._control_weight = env._ctrl_cost_weight
        self._first_position = self.num_hidden * env._exclude_current_positions_from_observation

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns positions and velocities. Shape `[..., O]`."""
        return np.concatenate([physics.qpos[..., self._first_position :], physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns the forward reward less the control cost. Shape `[...]`."""
        return self._forward_reward(physics, previous) - self._control_cost(control)

    def _forward_reward(self, physics: PhysicsBatch, previous: PhysicsBatch) -> np.ndarray:
        return self._forward_weight * ((physics.qpos[..., 0] - previous.qpos[..., 0]) / self._dt_sec)

    def _control_cost(self, control: np.ndarray) -> np.ndarray:
        return self._control_weight * np.sum(np.square(control), axis=-1)


class HalfCheetahTask(ForwardTask):
    """HalfCheetah-v5."""

    env_type = HalfCheetahEnv


class SwimmerTask(ForwardTask):
    """Swimmer-v5."""

    env_type = SwimmerEnv
    num_hidden = 2


class HealthyTask(ForwardTask):
    """Rewards being healthy besides, and ends the episode where the robot is not."""

    def configure(self, env: Any) -> None:
        """Reads the weights and the healthy ranges."""
        super().configure(env)
        self._healthy_reward = env._healthy_reward
        self._ends_unhealthy = env._terminate_when_unhealthy
        self._height_range = env._healthy_z_range
        self._angle_range = env._healthy_angle_range

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns positions, and velocities clipped to 10. Shape `[..., O]`."""
        velocity = np.clip(physics.qvel, -10, 10)
        return np.concatenate([physics.qpos[..., self._first_position :], velocity], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns the forward and healthy rewards less the control cost. Shape `[...]`."""
        healthy = self.is_healthy(physics) * self._healthy_reward
        return self._forward_reward(physics, previous) + healthy - self._control_cost(control)

    def terminated(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns whether the robot is not healthy, if that ends episodes. Shape `[...]`."""
        return ~self.is_healthy(physics) & self._ends_unhealthy

    def is_healthy(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns whether height and angle are within their ranges. Shape `[...]`, bool."""
        height, angle = physics.qpos[..., 1], physics.qpos[..., 2]
        return _is_between(height, self._height_range) & _is_between(angle, self._angle_range)


class Walker2dTask(HealthyTask):
    """Walker2d-v5."""

    env_type = Walker2dEnv


class HopperTask(HealthyTask):
    """Hopper-v5: every position but the first two, and every velocity, must be in a healthy range too."""

    env_type = HopperEnv

    def configure(self, env: Any) -> None:
        """Reads the weights and the healthy ranges."""
        super().configure(env)
        self._state_range = env._healthy_state_range

    def is_healthy(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns whether height, angle and the whole state are within their ranges. Shape `[...]`."""
        state = np.concatenate([physics.qpos[..., 2:], physics.qvel], axis=-1)
        return super().is_healthy(physics) & _is_between(state, self._state_range).all(axis=-1)


class InvertedPendulumTask(GymnasiumTask):
    """InvertedPendulum-v5: reward 1 until the pole leans by more than 0.2 rad, which ends the episode."""

    env_type = InvertedPendulumEnv

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns positions and velocities. Shape `[..., 4]`."""
        return np.concatenate([physics.qpos, physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns 1 where the episode goes on, else 0. Shape `[...]`."""
        return (~self.terminated(physics)).astype(np.float64)

    def terminated(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns whether the pole has fallen. Shape `[...]`."""
        return np.abs(physics.qpos[..., 1]) > 0.2


class PusherTask(GymnasiumTask):
    """Pusher-v5: the object near the goal, the fingertip near the object, small controls.

    The environment reads body positions one substep late, in its observations too.
    """

    env_type = PusherEnv
    bodies = ("tips_arm", "object", "goal")
    sensors = tuple(frame_position(mujoco.mjtObj.mjOBJ_XBODY, name) for name in bodies)
    force_sensors = tuple(sensor.name for sensor in sensors)

    def configure(self, env: Any) -> None:
        """Reads the weights."""
        self._near_weight = env._reward_near_weight
        self._distance_weight = env._reward_dist_weight
        self._control_weight = env._reward_control_weight

    def live_force_sensors(self, model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
        """Returns the body positions that the live environment reads. Shape `[9]`."""
        return np.concatenate([data.body(name).xpos for name in self.bodies])

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns the arm's positions and velocities, and the three bodies' places. Shape `[..., 23]`."""
        places = [physics.force_sensors[name] for name in self.force_sensors]
        return np.concatenate([physics.qpos[..., :7], physics.qvel[..., :7], *places], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns minus the weighted distances and control cost. Shape `[...]`."""
        tip, pushed, goal = (physics.force_sensors[name] for name in self.force_sensors)
        near = -euclidean_norm(pushed - tip) * self._near_weight
        distance = -euclidean_norm(pushed - goal) * self._distance_weight
        return distance + -np.square(control).sum(axis=-1) * self._control_weight + near


_TASKS: dict[type[gym.Env], type[GymnasiumTask]] = {
    task.env_type: task
    for task in (
        HalfCheetahTask,
        HopperTask,
        InvertedPendulumTask,
        PusherTask,
        SwimmerTask,
        Walker2dTask,
    )
}


def find_gymnasium_task(env: gym.Env) -> GymnasiumTask | None:
    """Returns the vectorised task of a live Gymnasium environment, or None if it has none."""
    task = _TASKS.get(type(env.unwrapped))
    return None if task is None else task(env.unwrapped)


def _is_between(value: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return (bounds[0] < value) & (value < bounds[1])
