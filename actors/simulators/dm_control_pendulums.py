"""Vectorised dm_control tasks of poles that swing up: cartpole, pendulum, acrobot.

Formulas follow `dm_control.suite` (Tassa et al., 2018) operation by operation, so rewards agree bit for bit.
Observed orientations are sines and cosines of summed joint angles, which agree to rounding.
"""

from typing import Any

import mujoco
import numpy as np
from dm_control.rl import control as dm_control_rl
from dm_control.suite import acrobot, cartpole, pendulum

from actors.simulators.augmented_model import frame_axis, frame_position
from actors.simulators.dm_control_task import DmControlTask, euclidean_norm, small_control
from actors.simulators.task import PhysicsBatch
from actors.simulators.tolerance import tolerance

_COSINE_BOUND = np.cos(np.deg2rad(8))


class CartpoleTask(DmControlTask):
    """Reward: the pole upright, the cart centred, controls and velocities small. One pole."""

    task_names = (
        ("cartpole", "balance"),
        ("cartpole", "balance_sparse"),
        ("cartpole", "swingup"),
        ("cartpole", "swingup_sparse"),
    )
    sensors = (frame_axis("pole_1"),)
    state_sensors = ("pole_1_z_axis",)

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `cartpole.Balance`."""
        return cartpole.Balance

    @classmethod
    def supports(cls, environment: dm_control_rl.Environment) -> bool:
        """Returns whether there is one pole."""
        return super().supports(environment) and environment.physics.model.nv == 2

    def configure(self, task: Any) -> None:
        """Reads whether the reward is sparse."""
        self._is_sparse = task._sparse

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns cart position, cosine and sine of the pole, velocities. Shape `[..., 5]`."""
        cart, pole = physics.qpos[..., :1], physics.qpos[..., 1:]
        return np.concatenate([cart, np.cos(pole), np.sin(pole), physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `upright * small_control * small_velocity * centered`, or a product of indicators.

        Shape `[...]`.
        """
        cart, cosine = physics.qpos[..., 0], physics.state_sensors["pole_1_z_axis"][..., 2]
        if self._is_sparse:
            return tolerance(cart, (-0.25, 0.25)) * tolerance(cosine, (0.995, 1))
        centered = (1 + tolerance(cart, margin=2)) / 2
        control_term = (4 + small_control(control)[..., 0]) / 5
        velocity_term = (1 + tolerance(physics.qvel[..., 1], margin=5)) / 2
        return (cosine + 1) / 2 * control_term * velocity_term * centered


class PendulumTask(DmControlTask):
    """Reward: 1 while the pole is within 8 degrees of upright, else 0."""

    task_names = (("pendulum", "swingup"),)
    sensors = (frame_axis("pole"),)
    state_sensors = ("pole_z_axis",)

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `pendulum.SwingUp`."""
        return pendulum.SwingUp

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns cosine, sine and velocity of the pole. Shape `[..., 3]`."""
        return np.concatenate([np.cos(physics.qpos), np.sin(physics.qpos), physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `tolerance(cosine; cos 8 deg, 1)`. Shape `[...]`."""
        return tolerance(physics.state_sensors["pole_z_axis"][..., 2], (_COSINE_BOUND, 1))


class AcrobotTask(DmControlTask):
    """Reward: the tip near the target above."""

    task_names = (("acrobot", "swingup"), ("acrobot", "swingup_sparse"))
    sensors = (
        frame_position(mujoco.mjtObj.mjOBJ_SITE, "target"),
        frame_position(mujoco.mjtObj.mjOBJ_SITE, "tip"),
    )
    state_sensors = tuple(sensor.name for sensor in sensors)

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `acrobot.Balance`."""
        return acrobot.Balance

    def configure(self, task: Any) -> None:
        """Reads whether the reward is sparse, and the radius of the target, in m."""
        self._margin = 0 if task._sparse else 1
        self._target_radius = float(self.model.site("target").size[0])

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns sines, then cosines, of both arms' angles; velocities. Shape `[..., 6]`."""
        angles = np.cumsum(physics.qpos, axis=-1)
        return np.concatenate([np.sin(angles), np.cos(angles), physics.qvel], axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `tolerance(distance; 0, radius)`, with margin 1 unless sparse. Shape `[...]`."""
        target, tip = (physics.state_sensors[name] for name in self.state_sensors)
        distance = euclidean_norm(target - tip)
        return tolerance(distance, (0, self._target_radius), margin=self._margin)
