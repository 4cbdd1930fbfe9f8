"""Chooses the fastest simulator that reproduces an environment."""

import gymnasium as gym

from actors.simulators.base import Simulator
from actors.simulators.data_copy import DataCopySimulator, is_copyable
from actors.simulators.deepcopy import DeepcopySimulator
from actors.simulators.mujoco import MujocoSimulator
from actors.simulators.tasks import find_task


def make_simulator(env: gym.Env, *, num_threads: int = 1) -> Simulator:
    """Builds the simulator of a live environment; its `description` says which one it is and why.

    In order of speed: native MuJoCo rollouts where the task is vectorised, `mj_copyData` for other MuJoCo
    environments, deep copies for the rest.

    Args:
      env: an environment of `distill_rl.envs.make_env`; it is never touched.
      num_threads: native threads; only native rollouts have any.

    Raises:
      ValueError: if no simulator can reproduce the environment, or `num_threads` is not positive.
    """
    if num_threads < 1:
        raise ValueError(f"`num_threads` must be at least 1, got {num_threads}")
    task = find_task(env)
    if task is not None:
        return MujocoSimulator(env, task, num_threads=num_threads)
    if is_copyable(env):
        return DataCopySimulator(env)
    return DeepcopySimulator(env)
