"""Finds the vectorised task of a live environment."""

import gymnasium as gym

from actors.simulators.dm_control_locomotion import CheetahTask, HopperTask, WalkerTask
from actors.simulators.dm_control_task import DmControlTask, dm_control_environment
from actors.simulators.task import MujocoTask

DM_CONTROL_TASKS: dict[tuple[str, str], type[DmControlTask]] = {
    name: task for task in (CheetahTask, HopperTask, WalkerTask) for name in task.task_names
}
"""The vectorised task of each supported (domain, task) of dm_control."""


def supported_dm_control_tasks() -> tuple[tuple[str, str], ...]:
    """Returns the (domain, task) pairs of dm_control that have a vectorised task, sorted."""
    return tuple(sorted(DM_CONTROL_TASKS))


def find_task(env: gym.Env) -> MujocoTask | None:
    """Returns the vectorised task of a live environment, or None if it has none.

    dm_control tasks are recognised by the exact class of their live task object; one that does not keep
    derived quantities up to date after a step (`legacy_step=False`) has other observations, and none of ours.
    """
    environment = dm_control_environment(env)
    if environment is None or not environment.physics.legacy_step:
        return None
    for task in set(DM_CONTROL_TASKS.values()):
        if type(environment.task) is task.dm_task_type():
            return task(environment)
    return None
