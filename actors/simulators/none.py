"""What stands for a simulator where nothing is simulated."""

import gymnasium as gym
import numpy as np

from actors.simulators.base import ActionFn, Rollout, SimulatorStep


class NoSimulator:
    """A `Simulator` of any environment that cannot be stepped: its states are empty."""

    def __init__(self, env: gym.Env):
        """Takes the sizes of an environment of `distill_rl.envs.make_env`.

        Args:
          env: the environment.
        """
        assert env.observation_space.shape is not None and env.action_space.shape is not None
        self.observation_size = env.observation_space.shape[0]
        self.action_size = env.action_space.shape[0]
        self.control_timestep_sec: float | None = None
        self.num_steps = 0
        self.description = "none, the operator simulates nothing"

    def snapshot(self, env: gym.Env) -> np.ndarray:
        """Returns nothing. Shape `[0]`."""
        return np.empty(0)

    def step(self, state: np.ndarray, action: np.ndarray) -> SimulatorStep:
        """Refuses.

        Raises:
          NotImplementedError: always.
        """
        raise NotImplementedError("there is no simulator: this operator was built to simulate nothing")

    def rollout(
        self, state: np.ndarray, actions: np.ndarray | ActionFn, num_steps: int | None = None
    ) -> Rollout:
        """Refuses.

        Raises:
          NotImplementedError: always.
        """
        raise NotImplementedError("there is no simulator: this operator was built to simulate nothing")
