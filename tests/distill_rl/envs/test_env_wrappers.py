"""Flattening, rescaling and repeating, against the environments without them."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import shimmy  # noqa: F401  (registers the dm_control ids)
from gymnasium import spaces

from distill_rl.envs import ActionRepeat, NormalizedAction, VectorObservation, make_env


class CountingEnv(gym.Env):
    """Rewards 1, 2, 3, ... and ends at a given step; records the actions it received."""

    def __init__(self, low: float = -1.0, high: float = 1.0, last: int = 100, is_truncated: bool = False):
        self.observation_space = spaces.Dict(z=spaces.Box(-9, 9, ()), a=spaces.Box(-9, 9, (2, 1)))
        self.action_space = spaces.Box(low, high, (2,), np.float32)
        self.received: list[np.ndarray] = []
        self._last, self._is_truncated = last, is_truncated

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.received = []
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.received.append(action)
        count = len(self.received)
        is_over = count == self._last
        ends = (is_over and not self._is_truncated, is_over and self._is_truncated)
        return self._observation(), float(count), *ends, {"count": count}

    def _observation(self) -> dict[str, np.ndarray]:
        count = float(len(self.received))
        return {"z": np.array(count), "a": np.array([[count + 0.25], [count + 0.5]])}


def test_dictionaries_of_dm_control_keep_its_order() -> None:
    """Observations are those of dm_control, concatenated in dm_control's order (not sorted by name)."""
    env = make_env("dm_control/walker-walk-v0")
    observation, _ = env.reset(seed=0)
    environment = env.unwrapped._env
    expected = environment.task.get_observation(environment.physics)
    assert list(expected) == ["orientations", "height", "velocity"]
    flat = np.concatenate([np.ravel(value) for value in expected.values()]).astype(np.float32)
    np.testing.assert_array_equal(observation, flat)
    assert env.observation_space.shape == flat.shape


def test_other_dictionaries_keep_the_order_of_their_space() -> None:
    """Without an `observation_spec`, the order is that of the space, whatever that of the observation."""
    env = VectorObservation(CountingEnv())
    observation, _ = env.reset()
    keys = list(env.unwrapped.observation_space.spaces)
    expected = {"a": [0.25, 0.5], "z": [0.0]}
    np.testing.assert_array_equal(observation, np.concatenate([expected[key] for key in keys]))


def test_last_observation_is_remembered() -> None:
    """`last_observation` is what the last reset or step returned."""
    env = VectorObservation(CountingEnv())
    assert env.last_observation is None
    np.testing.assert_array_equal(env.reset()[0], env.last_observation)
    np.testing.assert_array_equal(env.step(np.zeros(2))[0], env.last_observation)
    assert env.last_observation.max() == 1.5


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (0.0, 1.0), (-0.3, 5.0)])
def test_actions_are_rescaled(low: float, high: float) -> None:
    """-1, 0 and 1 become the lower bound, the middle and the upper bound, in the dtype of the space."""
    env = NormalizedAction(CountingEnv(low, high))
    ends = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]], np.float32)
    scaled = env.action(ends)
    np.testing.assert_allclose(scaled[:, 0], [low, (low + high) / 2, high], atol=1e-6)
    assert scaled.dtype == np.float32
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32)
    space = env.unwrapped.action_space
    expected = (actions + 1) / 2 * (space.high - space.low) + space.low
    np.testing.assert_array_equal(env.action(actions), expected)


def test_actions_in_the_own_bounds_pass_unchanged() -> None:
    """Where the bounds already are [-1, 1], actions are not touched by arithmetic."""
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    env = NormalizedAction(CountingEnv())
    np.testing.assert_array_equal(env.action(actions), actions)
    np.testing.assert_array_equal(env.action(actions.astype(np.float64) + 1e-12), actions)
    dm_control = make_env("dm_control/cheetah-run-v0")
    np.testing.assert_array_equal(dm_control.action(np.repeat(actions, 3, 1)), np.repeat(actions, 3, 1))


@pytest.mark.parametrize("is_truncated", [False, True])
def test_repeat_adds_rewards_and_stops_at_the_end(is_truncated: bool) -> None:
    """Three repeats of rewards 1, 2, ... are 6, then 4 where the episode ends at the fourth step."""
    env = ActionRepeat(CountingEnv(last=4, is_truncated=is_truncated), 3)
    env.reset()
    observation, reward, terminated, truncated, info = env.step(np.ones(2))
    assert (reward, terminated, truncated, info["count"], observation["z"]) == (6.0, False, False, 3, 3.0)
    observation, reward, terminated, truncated, info = env.step(np.zeros(2))
    assert (reward, terminated, truncated, info["count"]) == (4.0, not is_truncated, is_truncated, 4)
    assert [action[0] for action in env.unwrapped.received] == [1.0, 1.0, 1.0, 0.0]
    assert isinstance(reward, float)


def test_time_limit_counts_the_environment_s_own_steps() -> None:
    """An action repeat does not stretch an episode: 10 steps of the environment are 5 of ours."""
    env = make_env("Pendulum-v1", action_repeat=2, env_config={"max_episode_steps": 10})
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3] for _ in range(5)]
    assert ends == [False] * 4 + [True]
