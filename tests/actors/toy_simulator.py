"""A point mass, as a batched simulator and as the matching Gymnasium environment, with toy policies.

Dynamics: `x' = x + 0.1 a`, reward `-|x'|^2` (the action moves the position itself), observation `x`.
"""

import gymnasium as gym
import numpy as np

from actors.simulators.base import ActionFn, Rollout, SimulatorStep

STEP = 0.1


class PointMassSimulator:
    """The point mass; terminates beyond `limit`, and diverges where the first coordinate exceeds `poison`."""

    def __init__(
        self, size: int = 1, limit: float = np.inf, poison: float = np.inf, timestep: float | None = 0.1
    ):
        self.observation_size = self.action_size = size
        self.control_timestep_sec = timestep
        self.num_steps = 0
        self.description = "toy point mass"
        self.num_calls: list[int] = []
        self.actions: list[np.ndarray] = []  # every batch of actions, in order
        self._limit, self._poison = limit, poison

    def snapshot(self, env: gym.Env) -> np.ndarray:
        return env.unwrapped.position.copy()

    def step(self, state: np.ndarray, action: np.ndarray) -> SimulatorStep:
        self.num_steps += len(state)
        self.num_calls.append(len(state))
        self.actions.append(np.array(action))
        position = state + STEP * np.asarray(action, np.float64)
        reward = -np.square(position).sum(axis=1)
        is_lost = position[:, 0] > self._poison
        position = np.where(is_lost[:, None], np.nan, position)
        discount = np.where(np.abs(position).max(axis=1) > self._limit, 0.0, 1.0)
        return SimulatorStep(
            position, position.astype(np.float32), np.where(is_lost, np.nan, reward), discount
        )

    def rollout(
        self, state: np.ndarray, actions: np.ndarray | ActionFn, num_steps: int | None = None
    ) -> Rollout:
        if callable(actions):
            action_fn = actions
            assert num_steps is not None
        else:
            num_steps = actions.shape[1]

            def action_fn(step: int, _: np.ndarray) -> np.ndarray:
                return actions[:, step]

        observation = state.astype(np.float32)
        alive = np.ones(len(state))
        rewards, discounts = [], []
        for step in range(num_steps):
            result = self.step(state, action_fn(step, observation))
            rewards.append(np.where(alive > 0, result.reward, 0.0))
            alive = alive * result.discount
            discounts.append(alive)
            state, observation = result.state, result.observation
        return Rollout(state, observation, np.stack(rewards, axis=1), np.stack(discounts, axis=1))


class PointMassEnv(gym.Env):
    """The same point mass as an environment, with a time limit."""

    def __init__(
        self,
        size: int = 1,
        limit: float = np.inf,
        max_steps: int = 20,
        start: float | None = None,
        failure: Exception | None = None,
        poison: float = np.inf,
    ):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (size,), np.float32)
        self.position = np.zeros(size)
        self.actions: list[np.ndarray] = []
        self._simulator = PointMassSimulator(size, limit, poison)
        self._max_steps, self._start, self._failure, self._poison = max_steps, start, failure, poison
        self._num_steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._num_steps = 0
        self.position = self.np_random.uniform(-1.0, 1.0, self.position.shape)
        if self._start is not None:
            self.position[:] = self._start
        return self.position.astype(np.float32), {}

    def step(self, action):
        self._num_steps += 1
        self.actions.append(np.array(action))
        result = self._simulator.step(self.position[None], np.asarray(action)[None])
        if self._failure is not None and np.isnan(result.reward[0]):
            raise self._failure
        self.position = result.state[0]
        terminated = bool(result.discount[0] == 0.0)
        truncated = not terminated and self._num_steps >= self._max_steps
        return result.observation[0], float(result.reward[0]), terminated, truncated, {}


class LinearPolicy:
    """Acts `clip(-gain * x + noise_scale * z)`, and values a state at `-weight * |x|^2`."""

    def __init__(self, gain: float = 1.0, weight: float = 2.0):
        self.gain, self.weight = gain, weight
        self.noise_scales: list[float] = []

    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        assert np.isfinite(observation).all()
        self.noise_scales.append(noise_scale)
        action = -self.gain * observation
        if noise_scale > 0.0:
            action = action + noise_scale * generator.standard_normal(observation.shape)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def value(self, observation: np.ndarray) -> np.ndarray:
        assert np.isfinite(observation).all()
        return (-self.weight * np.square(observation).sum(axis=1)).astype(np.float32)
