"""Vectorised dm_control tasks of reaching and manipulation: reacher, point mass, finger, ball in cup.

Formulas follow `dm_control.suite` (Tassa et al., 2018) operation by operation, so rewards agree bit for bit.
Observed positions that MuJoCo derives are computed from joint angles, which agree to rounding.
"""

from typing import Any

import mujoco
import numpy as np
from dm_control.rl import control as dm_control_rl
from dm_control.suite import ball_in_cup, finger, point_mass, reacher

from actors.simulators.augmented_model import frame_position
from actors.simulators.dm_control_task import (
    DmControlTask,
    euclidean_norm,
    log_touch,
    small_control,
)
from actors.simulators.task import PhysicsBatch
from actors.simulators.tolerance import tolerance

_GEOM, _SITE, _XBODY = (
    mujoco.mjtObj.mjOBJ_GEOM,
    mujoco.mjtObj.mjOBJ_SITE,
    mujoco.mjtObj.mjOBJ_XBODY,
)


class ReacherTask(DmControlTask):
    """Reward: 1 while the finger touches the target, whose place is drawn at the start of each episode.

    The target is no part of the physics state: its position and the sum of both radii are task parameters.
    """

    task_names = (("reacher", "easy"), ("reacher", "hard"))
    sensors = (frame_position(_GEOM, "finger"),)
    state_sensors = ("finger_geom_position",)
    parameter_size = 3

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `reacher.Reacher`."""
        return reacher.Reacher

    def parameters(self, env: Any) -> np.ndarray:
        """Returns the target's x and y, and the distance that counts as reached, in m. Shape `[3]`."""
        model = env.unwrapped.physics.named.model
        radii = model.geom_size[["target", "finger"], 0].sum()
        return np.append(model.geom_pos["target", :2], radii)

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns joint angles, the vector from finger to target, velocities. Shape `[..., 6]`."""
        angles = np.cumsum(physics.qpos, axis=-1)
        lengths = np.array([self.model.body("hand").pos[0], self.model.body("finger").pos[0]])
        finger_xy = np.stack([np.cos(angles) @ lengths, np.sin(angles) @ lengths], axis=-1)
        to_target = physics.parameters[..., :2] - finger_xy
        return np.concatenate([physics.qpos, to_target, physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns 1 where the distance is at most the sum of both radii, else 0. Shape `[...]`."""
        to_target = physics.parameters[..., :2] - physics.state_sensors["finger_geom_position"][..., :2]
        return (euclidean_norm(to_target) <= physics.parameters[..., 2]).astype(np.float64)


class PointMassTask(DmControlTask):
    """Reward: the mass near the target, with small controls. Fixed gains only (`easy`)."""

    task_names = (("point_mass", "easy"),)
    sensors = (frame_position(_GEOM, "target"), frame_position(_GEOM, "pointmass"))
    state_sensors = tuple(sensor.name for sensor in sensors)

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `point_mass.PointMass`."""
        return point_mass.PointMass

    @classmethod
    def supports(cls, environment: dm_control_rl.Environment) -> bool:
        """Returns whether the gains are fixed: random ones change the dynamics with every episode."""
        return super().supports(environment) and not environment.task._randomize_gains

    def configure(self, task: Any) -> None:
        """Reads the radius of the target, in m."""
        self._target_radius = float(self.model.geom("target").size[0])

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns position and velocity. Shape `[..., 4]`."""
        return np.concatenate([physics.qpos, physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `tolerance(distance; 0, radius, margin radius) * (small_control + 4) / 5`.

        Shape `[...]`.
        """
        target, mass = (physics.state_sensors[name] for name in self.state_sensors)
        radius = self._target_radius
        near_target = tolerance(euclidean_norm(target - mass), (0, radius), margin=radius)
        return near_target * ((small_control(control).mean(axis=-1) + 4) / 5)


class FingerSpinTask(DmControlTask):
    """Reward: 1 while the body spins at 15 rad/s or more, else 0."""

    task_names = (("finger", "spin"),)
    state_sensors = ("hinge_velocity",)
    force_sensors = ("touchtop", "touchbottom")

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `finger.Spin`."""
        return finger.Spin

    def configure(self, task: Any) -> None:
        """Sets the damping of the hinge, as every episode of this task does."""
        self.model.joint("hinge").damping = 0.03

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns finger angles, the tip of the body, velocities, log touch. Shape `[..., 9]`."""
        radius = self.model.site("tip").pos[2]
        hinge = physics.qpos[..., 2:]
        # The hinge turns about -y, so a positive angle moves the tip towards -x.
        tip = radius * np.concatenate([-np.sin(hinge), np.cos(hinge)], axis=-1)
        touch = log_touch(physics, self.force_sensors)
        return np.concatenate([physics.qpos[..., :2], tip, physics.qvel, touch], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns 1 where the hinge velocity is at most -15 rad/s, else 0. Shape `[...]`."""
        return (physics.state_sensors["hinge_velocity"][..., 0] <= -15.0).astype(np.float64)


class BallInCupTask(DmControlTask):
    """Reward: 1 while the ball is in the cup, else 0."""

    task_names = (("ball_in_cup", "catch"),)
    sensors = (frame_position(_SITE, "target"), frame_position(_XBODY, "ball"))
    state_sensors = tuple(sensor.name for sensor in sensors)

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `ball_in_cup.BallInCup`."""
        return ball_in_cup.BallInCup

    def configure(self, task: Any) -> None:
        """Reads how far the ball may be from the middle of the cup, in m, along x and z."""
        self._reach = self.model.site("target").size[[0, 2]] - self.model.geom("ball").size[0]

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns positions and velocities. Shape `[..., 8]`."""
        return np.concatenate([physics.qpos, physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns 1 where the ball's centre keeps its radius from the target box's walls, else 0.

        Shape `[...]`.
        """
        target, ball = (physics.state_sensors[name][..., [0, 2]] for name in self.state_sensors)
        return (abs(target - ball) < self._reach).all(axis=-1).astype(np.float64)
