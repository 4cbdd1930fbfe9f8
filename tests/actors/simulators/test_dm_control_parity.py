"""Every vectorised dm_control task against the environment it copies."""

import gymnasium as gym
import numpy as np
import pytest
from live_envs import (
    REWARDED,
    flat_observation,
    make_live,
    make_rewarded,
    physics_of,
    random_actions,
)
from planner import plan_steps

from actors.simulators.mujoco import MujocoSimulator
from actors.simulators.native import FULL_PHYSICS
from actors.simulators.tasks import DM_CONTROL_TASKS, find_task

ALL_TASKS = ["-".join(name) for name in sorted(DM_CONTROL_TASKS)]
LONG = {"num_samples": 64, "horizon": 60, "hold": 10, "noise": 1.0}
slow = pytest.mark.slow


def step_through(env: gym.Env, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps a live environment; returns its rewards `[H]` and its observations `[H, O]`."""
    rewards, observations = [], []
    for action in actions:
        rewards.append(env.step(action)[1])
        observations.append(flat_observation(env))
    return np.array(rewards), np.array(observations)


def assert_rollouts_match(env: gym.Env, actions: np.ndarray) -> np.ndarray:
    """Checks open and closed loop from a snapshot against the live environment; returns the live rewards."""
    simulator = MujocoSimulator(env)
    state = simulator.snapshot(env)[None]
    seen = []

    def action_fn(step: int, observation: np.ndarray) -> np.ndarray:
        seen.append(observation[0])
        return actions[step : step + 1]

    first_observation = flat_observation(env)
    open_loop = simulator.rollout(state, actions[None])
    closed_loop = simulator.rollout(state, action_fn, len(actions))
    rewards, observations = step_through(env, actions)
    physics_state = physics_of(env).get_state(FULL_PHYSICS)

    size = len(physics_state)
    np.testing.assert_array_equal(open_loop.state[0, :size], physics_state)
    np.testing.assert_array_equal(open_loop.reward[0], rewards)
    np.testing.assert_array_equal(open_loop.discount, 1.0)
    np.testing.assert_allclose(open_loop.observation[0], observations[-1], rtol=1e-6, atol=1e-6)
    assert open_loop.observation.dtype == np.float32
    np.testing.assert_allclose(closed_loop.state[0, :size], physics_state, rtol=0, atol=1e-9)
    np.testing.assert_allclose(closed_loop.reward[0], rewards, rtol=0, atol=1e-9)
    np.testing.assert_allclose(seen[0], first_observation, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(seen[1:], observations[:-1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(closed_loop.observation[0], observations[-1], rtol=1e-6, atol=1e-6)
    return rewards


@pytest.mark.parametrize("name", ALL_TASKS)
def test_rollout_equals_environment_where_rewarded(name: str) -> None:
    """Physics and rewards of an open-loop rollout equal the environment's bit for bit, in rewarded states."""
    env = make_rewarded(name)
    rewards = assert_rollouts_match(env, random_actions(env, (12,), seed=1))
    assert rewards.mean() > REWARDED[name][1]


@pytest.mark.parametrize(
    "name", ["cheetah-run", "walker-walk", "hopper-stand", "reacher-easy", "finger-spin"]
)
@pytest.mark.parametrize("action_repeat", [2, 3])
def test_rollout_equals_repeated_environment(name: str, action_repeat: int) -> None:
    """With an action repeat, rewards are the sums over the repeated control steps, bit for bit."""
    env = make_rewarded(name, action_repeat)
    rewards = assert_rollouts_match(env, random_actions(env, (5,), seed=2))
    assert rewards.mean() > action_repeat * REWARDED[name][1] / 2


@pytest.mark.parametrize("name", ALL_TASKS)
def test_rollout_equals_environment_from_reset(name: str) -> None:
    """The law also holds from the first state of an episode, whatever reward it gives."""
    env = make_live(name, seed=3)
    assert_rollouts_match(env, random_actions(env, (10,), seed=3))


@pytest.mark.parametrize(
    ("name", "num_steps", "settings", "threshold"),
    [
        ("cheetah-run", 80, {}, 0.1),
        ("reacher-easy", 60, {}, 0.3),
        pytest.param("walker-walk", 60, {"horizon": 20}, 0.5, marks=slow),
        ("finger-spin", 120, {"horizon": 30, "hold": 5}, 0.2),
        pytest.param("ball_in_cup-catch", 100, {"horizon": 30, "hold": 5, "noise": 1.0}, 0.5, marks=slow),
        pytest.param("pendulum-swingup", 300, {"horizon": 60, "hold": 6, "noise": 1.0}, 0.3, marks=slow),
        pytest.param("cartpole-swingup", 200, {"horizon": 100, "hold": 10}, 0.2, marks=slow),
        pytest.param("point_mass-easy", 300, LONG, 0.5, marks=slow),
    ],
)
def test_rollout_equals_planned_episode(name: str, num_steps: int, settings: dict, threshold: float) -> None:
    """A planner that reaches reward: its actions, replayed from the first state, give its rewards exactly."""
    env = make_live(name, seed=1)
    simulator = MujocoSimulator(env)
    start = simulator.snapshot(env)[None]
    actions, rewards = plan_steps(env, simulator, num_steps, **settings)
    replay = simulator.rollout(start, actions[None])
    np.testing.assert_array_equal(replay.reward[0], rewards)
    physics_state = physics_of(env).get_state(FULL_PHYSICS)
    np.testing.assert_array_equal(replay.state[0, : len(physics_state)], physics_state)
    assert rewards[num_steps // 2 :].mean() > threshold


def test_registry_covers_the_listed_tasks() -> None:
    """Every listed task is registered under its own name and found from a live environment."""
    assert set(ALL_TASKS) == set(REWARDED)


@pytest.mark.parametrize("name", ["point_mass-hard", "cartpole-two_poles", "quadruped-walk"])
def test_find_task_is_none_for_other_tasks(name: str) -> None:
    """Tasks whose dynamics or rewards are not vectorised are not claimed."""
    assert find_task(make_live(name)) is None


def test_finger_built_before_its_first_episode_has_the_damping_of_episodes() -> None:
    """The hinge damping that each episode of finger-spin sets is there without any reset."""
    task = find_task(gym.make("dm_control/finger-spin-v0"))
    assert task is not None
    assert task.model.joint("hinge").damping[0] == 0.03
