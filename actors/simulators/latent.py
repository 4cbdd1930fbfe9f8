"""A learned model as a simulator: environments that cannot be copied can be searched all the same."""

from typing import Protocol

import gymnasium as gym
import numpy as np

from actors.simulators.base import ActionFn, Rollout, SimulatorStep
from distill_rl.checks import check_shape
from distill_rl.envs.timing import control_timestep_sec


class LatentModel(Protocol):
    """A learned model: numpy in, numpy out."""

    @property
    def latent_size(self) -> int:
        """Entries `Z` of a latent state."""
        ...

    @property
    def action_size(self) -> int:
        """Entries `A` of an action."""
        ...

    def encode(self, observation: np.ndarray) -> np.ndarray:
        """Returns latent states. Shapes `[M, O]` to `[M, Z]`."""
        ...

    def step(self, latent: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns latent states after an action, rewards and discounts. Shapes `[M, Z]`, `[M]`, `[M]`."""
        ...


class LatentSimulator:
    """A `Simulator` whose states, and observations, are the latent states of a learned model.

    Nothing of the environment is simulated: states come from observations (`encode`), and the policy that is
    searched with acts in latent states too.
    """

    def __init__(self, model: LatentModel, env: gym.Env):
        """Builds the simulator.

        Args:
          model: steps latent states; it may go on learning.
          env: the environment that it models, which tells how long a step takes.
        """
        self.model = model
        self.observation_size, self.action_size = model.latent_size, model.action_size
        self.control_timestep_sec = control_timestep_sec(env)
        self.num_steps = 0
        self.description = "a learned model: states are latent, nothing of the environment is copied"

    def snapshot(self, env: gym.Env) -> np.ndarray:
        """Refuses: latent states come from observations.

        Raises:
          NotImplementedError: always.
        """
        raise NotImplementedError("a learned model has no snapshots; `encode` observations instead")

    def encode(self, observation: np.ndarray) -> np.ndarray:
        """Returns the states of observations. Shapes `[M, O]` to `[M, Z]`."""
        return self.model.encode(observation)

    def step(self, state: np.ndarray, action: np.ndarray) -> SimulatorStep:
        """Steps every state once. Shapes `[M, Z]`, `[M, A]`.

        Raises:
          ValueError: if a shape is wrong.
        """
        check_shape("state", state, (None, self.observation_size))
        check_shape("action", action, (len(state), self.action_size))
        after, reward, discount = self.model.step(state, action)
        self.num_steps += len(state)
        return SimulatorStep(after, after, reward, discount)

    def rollout(
        self, state: np.ndarray, actions: np.ndarray | ActionFn, num_steps: int | None = None
    ) -> Rollout:
        """Rolls every state out.

        Args:
          state: shape `[M, Z]`.
          actions: an open-loop plan `[M, H, A]`, or a function called with the step and its state.
          num_steps: `H`; needed with a function.

        Returns:
          The rollout; nothing is rewarded after a predicted termination.

        Raises:
          ValueError: if a shape is wrong, or `num_steps` is missing or does not agree with a plan.
        """
        if not callable(actions):
            check_shape("actions", actions, (len(state), num_steps, self.action_size))
            num_steps = actions.shape[1]
        if num_steps is None or num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1, got {num_steps}")
        rewards, discounts = np.empty((len(state), num_steps)), np.empty((len(state), num_steps))
        alive = np.ones(len(state))
        for index in range(num_steps):
            action = actions(index, state) if callable(actions) else actions[:, index]
            step = self.step(state, action)
            rewards[:, index] = alive * step.reward
            alive = alive * step.discount
            discounts[:, index] = alive
            state = step.state
        return Rollout(state, state, rewards, discounts)
