"""Live environments for the simulator tests, and configurations of them that are rewarded."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import shimmy  # noqa: F401  (registers the dm_control ids)
from gymnasium.wrappers import RescaleAction

from distill_rl.envs import ActionRepeat


def make_live(name: str, action_repeat: int = 1, seed: int = 0) -> gym.Env:
    """Returns a reset dm_control environment such as `cheetah-run`, with actions in [-1, 1]."""
    env = RescaleAction(gym.make(f"dm_control/{name}-v0"), np.float64(-1.0), np.float64(1.0))
    env = ActionRepeat(env, action_repeat) if action_repeat > 1 else env
    env.reset(seed=seed)
    return env


def physics_of(env: gym.Env) -> Any:
    """Returns the live dm_control physics."""
    return env.unwrapped.physics


def flat_observation(env: gym.Env) -> np.ndarray:
    """Returns the live observation in dm_control's own order, as float32."""
    environment = env.unwrapped._env
    observation = environment.task.get_observation(environment.physics)
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float32)


def random_actions(env: gym.Env, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns uniform actions `[*shape, A]`, float32."""
    size = env.action_space.shape[0]
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, size)).astype(np.float32)


def _set(**values: float) -> Callable[[Any], None]:
    """Returns an edit of joints: `joint=position`, `joint_velocity=velocity`; others rest at zero."""

    def edit(physics: Any) -> None:
        physics.data.qpos[:] = 0.0
        physics.data.qvel[:] = 0.0
        for name, value in values.items():
            if name.endswith("_velocity"):
                physics.named.data.qvel[name.removesuffix("_velocity")] = value
            else:
                physics.named.data.qpos[name] = value

    return edit


def _stand_humanoid(speed: float) -> Callable[[Any], None]:
    """Returns an edit that puts the humanoid on its feet, moving at a speed."""

    def edit(physics: Any) -> None:
        physics.data.qpos[:] = 0.0
        physics.data.qpos[2:4] = 1.4, 1.0
        physics.data.qvel[:] = 0.0
        physics.data.qvel[0] = speed

    return edit


def _move_target_to_finger(physics: Any) -> None:
    physics.named.model.geom_pos["target", :2] = physics.named.data.geom_xpos["finger", :2] + 0.01


REWARDED: dict[str, tuple[Callable[[Any], None], float]] = {
    "acrobot-swingup": (_set(), 0.5),
    "acrobot-swingup_sparse": (_set(), 0.3),
    "ball_in_cup-catch": (_set(ball_z=0.36), 0.3),
    "cartpole-balance": (_set(slider=0.1), 0.5),
    "cartpole-balance_sparse": (_set(), 0.3),
    "cartpole-swingup": (_set(hinge_1=0.2), 0.4),
    "cartpole-swingup_sparse": (_set(hinge_1=0.02), 0.3),
    "cheetah-run": (_set(rootx_velocity=6.0), 0.1),
    "finger-spin": (_set(hinge_velocity=-60.0), 0.3),
    "hopper-hop": (_set(rootx_velocity=2.0, knee=0.1), 0.1),
    "hopper-stand": (_set(knee=0.1), 0.2),
    "humanoid-run": (_stand_humanoid(2.0), 0.1),
    "humanoid-stand": (_stand_humanoid(0.0), 0.3),
    "humanoid-walk": (_stand_humanoid(1.0), 0.3),
    "pendulum-swingup": (_set(), 0.3),
    "point_mass-easy": (_set(root_x=0.005, root_y=-0.01), 0.3),
    "reacher-easy": (_move_target_to_finger, 0.3),
    "reacher-hard": (_move_target_to_finger, 0.1),
    "walker-run": (_set(rootx_velocity=6.0), 0.3),
    "walker-stand": (_set(), 0.5),
    "walker-walk": (_set(rootx_velocity=1.0), 0.3),
}
"""For each task, an edit of the live physics that leads to reward, and a bound on the mean of it."""


def make_rewarded(name: str, action_repeat: int = 1, seed: int = 0) -> gym.Env:
    """Returns a live environment in the middle of an episode, in a rewarded configuration."""
    env = make_live(name, action_repeat, seed)
    for action in random_actions(env, (4,), seed):
        env.step(action)
    physics = physics_of(env)
    REWARDED[name][0](physics)
    physics.after_reset()
    env.step(random_actions(env, (), seed))
    return env
