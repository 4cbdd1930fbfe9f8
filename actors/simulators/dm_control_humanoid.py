"""The vectorised humanoid of dm_control.

Formulas follow `dm_control.suite` (Tassa et al., 2018) operation by operation, so rewards agree bit for bit.
"""

from typing import Any

import mujoco
import numpy as np
from dm_control.rl import control as dm_control_rl
from dm_control.suite import humanoid

from actors.simulators.augmented_model import frame_axis, frame_position
from actors.simulators.dm_control_task import DmControlTask, euclidean_norm, small_control
from actors.simulators.task import PhysicsBatch
from actors.simulators.tolerance import tolerance

_SPEED = "torso_subtreelinvel"
_STAND_HEIGHT = 1.4  # of the head, in m
_LIMBS = ("left_hand", "left_foot", "right_hand", "right_foot")
_NUM_ROOT_POSITIONS = 7


class HumanoidTask(DmControlTask):
    """Reward: a high head, an upright torso and small controls, times a target speed or none at all."""

    task_names = (("humanoid", "stand"), ("humanoid", "walk"), ("humanoid", "run"))
    sensors = (
        *(frame_position(mujoco.mjtObj.mjOBJ_XBODY, name) for name in ("head", "torso", *_LIMBS)),
        *(frame_axis("torso", axis) for axis in "xyz"),
    )
    state_sensors = (_SPEED, *(sensor.name for sensor in sensors))
    observes_sensors = True

    @classmethod
    def dm_task_type(cls) -> type:
        """Returns `humanoid.Humanoid`."""
        return humanoid.Humanoid

    @classmethod
    def supports(cls, environment: dm_control_rl.Environment) -> bool:
        """Returns whether this class vectorises the task: the pure-state variant observes other things."""
        return super().supports(environment) and not environment.task._pure_state

    def configure(self, task: Any) -> None:
        """Reads the target speed, in m/s; 0 means standing."""
        self._move_speed = task._move_speed

    def observe(self, physics: PhysicsBatch) -> np.ndarray:
        """Returns joint angles, head height, limbs in the torso's frame, its uprightness, velocities.

        Shape `[..., 67]`.
        """
        sensors = physics.state_sensors
        torso = sensors["torso_xbody_position"]
        axes = np.stack([sensors[f"torso_{axis}_axis"] for axis in "xyz"], axis=-1)
        limbs = [
            np.einsum("...i,...ij->...j", sensors[f"{limb}_xbody_position"] - torso, axes) for limb in _LIMBS
        ]
        parts = [
            physics.qpos[..., _NUM_ROOT_POSITIONS:],
            sensors["head_xbody_position"][..., 2:],
            *limbs,
            axes[..., 2, :],
            sensors[_SPEED],
            physics.qvel,
        ]
        return np.concatenate(parts, axis=-1)

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        """Returns `standing * upright * small control`, times `(5 move + 1) / 6` or a term for rest.

        Shape `[...]`.
        """
        sensors = physics.state_sensors
        head_height = sensors["head_xbody_position"][..., 2]
        standing = tolerance(head_height, (_STAND_HEIGHT, np.inf), margin=_STAND_HEIGHT / 4)
        upright = tolerance(
            sensors["torso_z_axis"][..., 2],
            (0.9, np.inf),
            margin=1.9,
            value_at_margin=0,
            sigmoid="linear",
        )
        stand_reward = standing * upright
        control_reward = (4 + small_control(control).mean(axis=-1)) / 5
        velocity = sensors[_SPEED][..., :2]
        if self._move_speed == 0:
            return control_reward * stand_reward * tolerance(velocity, margin=2).mean(axis=-1)
        move = tolerance(
            euclidean_norm(velocity),
            (self._move_speed, np.inf),
            margin=self._move_speed,
            value_at_margin=0,
            sigmoid="linear",
        )
        return control_reward * stand_reward * ((5 * move + 1) / 6)
