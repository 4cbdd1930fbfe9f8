"""Vectorised dm_control tasks of planar bodies that run: cheetah, walker, hopper.

Formulas follow `dm_control.suite` (Tassa et al., 2018) operation by operation, so rewards agree bit for bit.
"""

from typing import Any

import mujoco
import numpy as np
from dm_control.suite import cheetah, hopper, walker

from actors.simulators.augmented_model import frame_axis, frame_position
from actors.simulators.dm_control_task import DmControlTask, log_touch, small_control
from actors.simulators.planar_velocity import PlanarVelocity
from actors.simulators.task import PhysicsBatch
from actors.simulators.tolerance import tolerance

_SPEED = "torso_subtreelinvel"


class CheetahTask(DmControlTask):
    """Reward: torso speed, linear up to 10 m/s."""

    task_names = (("cheetah", "run"),)
    state_sensors = (_SPEED,)

    def configure(self, task: Any) -> None:
        """Prepares the speed of the centre of mass; the task itself has no settings."""
        self._velocity = PlanarVelocity(self.model, "torso")

    def fast_state_sensors(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Returns the velocity of the centre of mass: a whole control step is no more than one substep.

        Shapes `[..., nq]`, `[..., nv]` to `[..., 3]`.
        """
        return self._velocity(qpos, qvel)

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `cheetah.Cheetah`."""
        return cheetah.Cheetah

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns positions but the horizontal one, and velocities. Shape `[..., 17]`."""
        return np.concatenate([physics.qpos[..., 1:], physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `tolerance(speed; 10, inf)`, linear with margin 10. Shape `[...]`."""
        speed = physics.state_sensors[_SPEED][..., 0]
        return tolerance(speed, (10, np.inf), margin=10, value_at_margin=0, sigmoid="linear")


class WalkerTask(DmControlTask):
    """Reward: a high and upright torso, times a target speed."""

    task_names = (("walker", "stand"), ("walker", "walk"), ("walker", "run"))
    sensors = (frame_position(mujoco.mjtObj.mjOBJ_XBODY, "torso"), frame_axis("torso"))
    state_sensors = (_SPEED, *(sensor.name for sensor in sensors))

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `walker.PlanarWalker`."""
        return walker.PlanarWalker

    def configure(self, task: Any) -> None:
        """Reads the target speed, in m/s; 0 means standing."""
        self._move_speed = task._move_speed

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns xx and xz of every body's rotation, torso height, velocities. Shape `[..., 24]`.

        The bodies turn in one plane, so their angles are sums of joint angles; the legs' axes point the other
        way.
        """
        pitch = physics.qpos[..., 2:3]
        right = pitch - np.cumsum(physics.qpos[..., 3:6], axis=-1)
        left = pitch - np.cumsum(physics.qpos[..., 6:9], axis=-1)
        angles = np.concatenate([pitch, right, left], axis=-1)
        orientations = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        height = self.model.body("torso").pos[2] + physics.qpos[..., :1]
        orientations = orientations.reshape(*angles.shape[:-1], -1)
        return np.concatenate([orientations, height, physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `(3 standing + upright) / 4`, times `(5 move + 1) / 6` where a speed is asked for.

        Shape `[...]`.
        """
        height = physics.state_sensors["torso_xbody_position"][..., 2]
        standing = tolerance(height, (1.2, np.inf), margin=1.2 / 2)
        upright = (1 + physics.state_sensors["torso_z_axis"][..., 2]) / 2
        stand_reward = (3 * standing + upright) / 4
        if self._move_speed == 0:
            return stand_reward
        move_reward = tolerance(
            physics.state_sensors[_SPEED][..., 0],
            (self._move_speed, np.inf),
            margin=self._move_speed / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return stand_reward * (5 * move_reward + 1) / 6


class HopperTask(DmControlTask):
    """Reward: torso above the foot, times a target speed (hop) or small controls (stand)."""

    task_names = (("hopper", "stand"), ("hopper", "hop"))
    sensors = (
        frame_position(mujoco.mjtObj.mjOBJ_BODY, "torso"),
        frame_position(mujoco.mjtObj.mjOBJ_BODY, "foot"),
    )
    state_sensors = (_SPEED, *(sensor.name for sensor in sensors))
    force_sensors = ("touch_toe", "touch_heel")

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `hopper.Hopper`."""
        return hopper.Hopper

    def configure(self, task: Any) -> None:
        """Reads whether the task is to hop."""
        self._is_hopping = task._hopping

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns positions but the horizontal one, velocities, log touch. Shape `[..., 15]`."""
        touch = log_touch(physics, self.force_sensors)
        return np.concatenate([physics.qpos[..., 1:], physics.qvel, touch], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `tolerance(height; 0.6, 2)` times `tolerance(speed; 2, inf)` or the small-control term.

        Shape `[...]`.
        """
        torso = physics.state_sensors["torso_body_position"][..., 2]
        foot = physics.state_sensors["foot_body_position"][..., 2]
        standing = tolerance(torso - foot, (0.6, 2))
        if not self._is_hopping:
            return standing * ((small_control(control).mean(axis=-1) + 4) / 5)
        speed = physics.state_sensors[_SPEED][..., 0]
        hopping = tolerance(speed, (2, np.inf), margin=2 / 2, value_at_margin=0.5, sigmoid="linear")
        return standing * hopping
