"""Simulated time of one step of an environment."""

import gymnasium as gym
import mujoco

from distill_rl.envs.wrappers import action_repeat_of


def control_timestep_sec(env: gym.Env) -> float | None:
    """Returns the simulated seconds of one step, action repeat included.

    dm_control tells its `control_timestep()`, Gymnasium's MuJoCo environments their `dt`.

    Args:
      env: an environment, with its wrappers.

    Returns:
      Seconds; None where the environment does not tell.
    """
    base = env.unwrapped
    control_timestep = getattr(base, "control_timestep", None)
    if callable(control_timestep):
        return float(control_timestep()) * action_repeat_of(env)
    if isinstance(getattr(base, "model", None), mujoco.MjModel) and hasattr(base, "dt"):
        return float(base.dt) * action_repeat_of(env)
    return None
