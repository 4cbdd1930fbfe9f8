"""Simulates an environment through its own `step`, one trajectory after the other."""

import abc
import dataclasses
import sys
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from actors.simulators.base import ActionFn, Rollout, SimulatorStep
from actors.stepping import EnvStep, step_env
from distill_rl.checks import check_shape
from distill_rl.envs import VectorObservation, action_repeat_of, control_timestep_sec, iter_wrappers


class Frozen(NamedTuple):
    """What every further step of a trajectory that cannot go on gives."""

    reward: float
    discount: float


TERMINATED = Frozen(reward=0.0, discount=0.0)
TRUNCATED = Frozen(reward=0.0, discount=1.0)
"""An environment that cut its episode off by itself (`TimeLimit` wrappers and the like are lifted)."""
DIVERGED = Frozen(reward=np.nan, discount=1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class RowState:
    """One state, never changed once it is made, so that rows may share it.

    Attributes:
      saved: what brings the environment back to this state; None where the trajectory is over.
      observation: the observation of the state.
      frozen: what further steps give where the trajectory is over, else None.
    """

    saved: Any
    observation: np.ndarray  # [O] float32
    frozen: Frozen | None = None


class RowSimulator(abc.ABC):
    """A `Simulator` that brings a private environment to a state and calls its own `step`.

    States are objects; a batch of them is an object array `[M]`. Observations, rewards and terminations equal
    the environment's own bit for bit. Time limits are lifted: a search looks beyond them. An environment that
    terminates stays where it is, gives reward 0 and discount 0 and is not reset; one that diverges (a
    physics exception, a number that is not finite, an action that is not finite) gives NaN.

    Attributes:
      observation_size: `O`.
      action_size: `A`.
      control_timestep_sec: simulated seconds of one step, action repeat included; None where unknown.
      num_steps: control steps simulated since construction; trajectories that are over count on.
      description: one line saying which simulator this is, and why it was chosen.
    """

    def __init__(self, env: gym.Env, description: str):
        """Reads sizes and timing.

        Raises:
          ValueError: if the environment has no vector observations or actions, as `make_env` gives them.
        """
        wrapper = _observation_wrapper(env)
        self.observation_size = int(np.prod(wrapper.observation_space.shape or ()))
        self.action_size = int(np.prod(env.action_space.shape or ()))
        self.control_timestep_sec = control_timestep_sec(env)
        self.num_steps = 0
        self.description = description
        self._action_repeat = action_repeat_of(env)

    @abc.abstractmethod
    def _save_live(self, env: gym.Env) -> Any:
        """Returns what brings the private environment to the state of a live one, which is not touched."""

    @abc.abstractmethod
    def _restore(self, saved: Any) -> gym.Env:
        """Returns the private environment in a saved state, which stays as it is."""

    @abc.abstractmethod
    def _save(self, env: gym.Env) -> Any:
        """Returns what brings the private environment back to where it is now."""

    def snapshot(self, env: gym.Env) -> np.ndarray:
        """Returns the state of a live environment of the kind this simulator was built from. Shape `[]`.

        Raises:
          ValueError: if the environment was never reset.
        """
        observation = _observation_wrapper(env).last_observation
        if observation is None:
            raise ValueError(f"`env` must be reset before its state is taken, got {env}")
        row = np.empty((), object)
        row[()] = RowState(self._save_live(env), observation.copy())
        return row

    def step(self, state: np.ndarray, action: np.ndarray) -> SimulatorStep:
        """Steps every state once. Shapes `[M]`, `[M, A]`.

        Raises:
          ValueError: if a shape is wrong.
        """
        check_shape("action", action, (len(state), self.action_size))
        rollout = self.rollout(state, action[:, None])
        return SimulatorStep(rollout.state, rollout.observation, rollout.reward[:, 0], rollout.discount[:, 0])

    def rollout(
        self, state: np.ndarray, actions: np.ndarray | ActionFn, num_steps: int | None = None
    ) -> Rollout:
        """Rolls every state out.

        Args:
          state: shape `[M]`, of objects.
          actions: an open-loop plan `[M, H, A]`, or a function called with the step and its observation
            `[M, O]`.
          num_steps: `H`; needed with a function.

        Returns:
          The rollout. Rows that diverge have NaN in their observation and rewards from there on.

        Raises:
          ValueError: if a shape is wrong, or `num_steps` is missing or does not agree with a plan.
        """
        check_shape("state", state, (None,))
        if not callable(actions):
            check_shape("actions", actions, (len(state), num_steps, self.action_size))
            num_steps = actions.shape[1]
        if num_steps is None or num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1, got {num_steps}")
        self.num_steps += len(state) * num_steps * self._action_repeat
        if not callable(actions):
            return self._run(state, actions)
        parts = []
        for step in range(num_steps):
            action = actions(step, _observations(state))
            check_shape("action", action, (len(state), self.action_size))
            parts.append(self._run(state, action[:, None]))
            state = parts[-1].state
        reward = np.concatenate([part.reward for part in parts], axis=1)
        discount = np.concatenate([part.discount for part in parts], axis=1)
        return Rollout(state, parts[-1].observation, reward, discount)

    def _run(self, state: np.ndarray, plans: np.ndarray) -> Rollout:
        """Runs one plan `[H, A]` from every state. Shapes `[M]`, `[M, H, A]`."""
        last = np.empty(len(state), object)
        reward, discount = np.empty(plans.shape[:2]), np.empty(plans.shape[:2])
        for row, plan in enumerate(plans):
            last[row] = self._run_row(state[row], plan, reward[row], discount[row])
        return Rollout(last, _observations(last), reward, discount)

    def _run_row(
        self, state: RowState, plan: np.ndarray, reward: np.ndarray, discount: np.ndarray
    ) -> RowState:
        """Runs a plan `[H, A]`, writes into `reward` and `discount` `[H]`, and returns the last state."""
        if state.frozen is not None:
            reward[:], discount[:] = state.frozen
            return state
        env, observation = self._restore(state.saved), state.observation
        for step, action in enumerate(plan):
            outcome = self._step(env, action)
            if outcome is None:
                reward[step:], discount[step:] = DIVERGED
                return RowState(None, np.full_like(observation, np.nan), DIVERGED)
            observation = outcome.observation
            reward[step], discount[step] = outcome.reward, 1.0 - outcome.terminated
            if outcome.terminated or outcome.truncated:
                frozen = TERMINATED if outcome.terminated else TRUNCATED
                reward[step + 1 :], discount[step + 1 :] = frozen
                return RowState(None, observation, frozen)
        return RowState(self._save(env), observation)

    def _step(self, env: gym.Env, action: np.ndarray) -> EnvStep | None:
        """Steps the private environment; None if it diverges."""
        return step_env(env, action) if np.isfinite(action).all() else None


def env_name(env: gym.Env) -> str:
    """Returns the id of an environment, or the name of its class if it has none."""
    return type(env.unwrapped).__name__ if env.spec is None else env.spec.id


def lift_time_limits(env: gym.Env) -> None:
    """Removes the limits of `TimeLimit` wrappers and of dm_control from a private environment."""
    for wrapper in iter_wrappers(env):
        if isinstance(wrapper, TimeLimit):
            wrapper._max_episode_steps = sys.maxsize
    environment = vars(env.unwrapped).get("_env")
    if environment is not None and hasattr(environment, "_step_limit"):
        environment._step_limit = np.inf


def _observation_wrapper(env: gym.Env) -> VectorObservation:
    for wrapper in iter_wrappers(env):
        if isinstance(wrapper, VectorObservation):
            return wrapper
    raise ValueError(f"`env` must be built by `distill_rl.envs.make_env`, got {env}")


def _observations(state: np.ndarray) -> np.ndarray:
    """Returns the observations of states. Shape `[M, O]`, float32."""
    return np.stack([row.observation for row in state])
