"""Reads what a simulator needs from a live environment: its MuJoCo handles and action wrappers."""

from collections.abc import Callable

import gymnasium as gym
import mujoco
import numpy as np

from distill_rl.envs import iter_wrappers


def model_and_data(env: gym.Env) -> tuple[mujoco.MjModel, mujoco.MjData] | None:
    """Returns the live MuJoCo model and data of an environment, or None if it has none.

    Knows dm_control environments behind shimmy (`physics`) and Gymnasium's `MujocoEnv` (`model`, `data`).
    """
    base = env.unwrapped
    physics = getattr(base, "physics", None)
    if physics is not None:
        return physics.model.ptr, physics.data.ptr
    model, data = getattr(base, "model", None), getattr(base, "data", None)
    if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
        return model, data
    return None


def control_fn_of(env: gym.Env) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the map from actions to what the innermost environment receives, for any leading dimensions.

    It calls the environment's own action wrappers (RescaleAction, ClipAction, ...), so it agrees bit for bit.
    Shapes `[..., A]` to `[..., nu]`.

    Raises:
      ValueError: if a wrapper does not act on every row alike, so that it cannot be applied to a batch.
    """
    wrappers = [wrapper for wrapper in iter_wrappers(env) if isinstance(wrapper, gym.ActionWrapper)]

    def control_fn(action: np.ndarray) -> np.ndarray:
        for wrapper in wrappers:
            action = wrapper.action(action)
        return action

    shape = env.action_space.shape or ()
    rows = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype(env.action_space.dtype)
    if not np.array_equal(control_fn(rows), np.stack([control_fn(row) for row in rows])):
        names = ", ".join(type(wrapper).__name__ for wrapper in wrappers)
        raise ValueError(f"action wrappers must act elementwise to be simulated in batches, got {names}")
    return control_fn
