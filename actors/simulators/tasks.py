"""Finds the vectorised task of a live environment."""

import gymnasium as gym

from actors.simulators.dm_control_humanoid import HumanoidTask
from actors.simulators.dm_control_locomotion import CheetahTask, HopperTask, WalkerTask
from actors.simulators.dm_control_manipulation import (
    BallInCupTask,
    FingerSpinTask,
    PointMassTask,
    ReacherTask,
)
from actors.simulators.dm_control_pendulums import AcrobotTask, CartpoleTask, PendulumTask
from actors.simulators.dm_control_task import DmControlTask, dm_control_environment
from actors.simulators.gymnasium_tasks import find_gymnasium_task
from actors.simulators.task import MujocoTask

_DM_CONTROL_CLASSES: tuple[type[DmControlTask], ...] = (
    AcrobotTask,
    BallInCupTask,
    CartpoleTask,
    CheetahTask,
    FingerSpinTask,
    HopperTask,
    HumanoidTask,
    PendulumTask,
    PointMassTask,
    ReacherTask,
    WalkerTask,
)

DM_CONTROL_TASKS: dict[tuple[str, str], type[DmControlTask]] = {
    name: task for task in _DM_CONTROL_CLASSES for name in task.task_names
}
"""The vectorised task of each supported (domain, task) of dm_control."""


def find_task(env: gym.Env) -> MujocoTask | None:
    """Returns the vectorised task of a live environment, or None if it has none."""
    environment = dm_control_environment(env)
    if environment is None:
        return find_gymnasium_task(env)
    for task in _DM_CONTROL_CLASSES:
        if task.supports(environment):
            return task(environment)
    return None
