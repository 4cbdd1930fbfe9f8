"""What acting and evaluation share: a guarded environment step, stacked snapshots, the best of p*."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import mujoco
import numpy as np
from dm_control.rl.control import PhysicsError

from distill_rl.types import ReferenceSet

if TYPE_CHECKING:
    from actors.simulators.base import Simulator

PHYSICS_ERRORS: tuple[type[Exception], ...] = (PhysicsError, mujoco.FatalError)
"""How dm_control reports a bad simulation state, and MuJoCo an abort. Anything else is a bug."""


@dataclasses.dataclass(frozen=True)
class EnvStep:
    """One step of one environment; all of it is finite."""

    observation: np.ndarray  # [O] float32
    reward: float
    terminated: bool
    truncated: bool


def step_env(env: gym.Env, action: np.ndarray) -> EnvStep | None:
    """Steps an environment.

    Args:
      env: the environment.
      action: shape `[A]`.

    Returns:
      The step; None if physics failed: with an exception of `PHYSICS_ERRORS`, or with a reward or an
      observation that is not finite.
    """
    try:
        raw_observation, raw_reward, terminated, truncated, _ = env.step(action)
    except PHYSICS_ERRORS:
        return None
    observation, reward = np.asarray(raw_observation, np.float32), float(raw_reward)
    if not (np.isfinite(reward) and np.isfinite(observation).all()):
        return None
    return EnvStep(observation, reward, bool(terminated), bool(truncated))


def stack_states(states: Sequence[Any]) -> np.ndarray:
    """Stacks snapshots to one row each: `[M, S]` of numbers, or `[M]` of objects."""
    if isinstance(states[0], np.ndarray) and states[0].dtype != object:
        return np.stack(states)
    stacked = np.empty(len(states), object)
    stacked[:] = [state.item() if isinstance(state, np.ndarray) else state for state in states]
    return stacked


def search_states(
    simulator: "Simulator", envs: Sequence[gym.Env], observation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what an operator is called with for live environments.

    Args:
      simulator: of the operator.
      envs: the environments.
      observation: their newest observations. Shape `[M, O]`.

    Returns:
      Observations and simulator states: those of the environments, or latent states of a learned model twice.
    """
    from actors.simulators.latent import LatentSimulator  # here, since simulators step environments too

    if isinstance(simulator, LatentSimulator):
        latent = simulator.encode(observation)
        return latent, latent
    return observation, stack_states([simulator.snapshot(env) for env in envs])


def best_actions(reference_set: ReferenceSet) -> np.ndarray:
    """Returns the candidate of the largest importance weight of each state. Shape `[B, A]`.

    For most operators it is the one of the largest value, for those that count visits the most visited; the
    first of those that share it.
    """
    log_weights = reference_set.log_probs - reference_set.log_proposals
    return reference_set.actions[np.arange(len(reference_set)), log_weights.argmax(axis=1)]
