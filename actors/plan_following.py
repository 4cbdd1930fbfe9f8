"""Carries out plans of states, as they were made at the start of an episode."""

import dataclasses
from collections.abc import Callable, Sequence

import gymnasium as gym
import numpy as np

from actors.stepping import step_env
from distill_rl.checks import check_at_least_one, check_finite, check_shape

PlanFn = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`(start [M, S], goal [M, S]) -> plan [M, T, S]`, whose first state is the start."""

InverseFn = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`(state [M, S], next_state [M, S]) -> action [M, A]`, the action that leads from one to the other."""


@dataclasses.dataclass(frozen=True)
class FollowedPlans:
    """Episodes, in the order of their seeds.

    Attributes:
      plans: shape `[M, T, S]`.
      paths: states that were gone through; the last one stands beyond the end. Shape `[M, H + 1, S]`.
      rewards: of every step; 0 beyond the end. Shape `[M, H]`.
    """

    plans: np.ndarray
    paths: np.ndarray
    rewards: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted sums of rewards. Shape `[M]`."""
        return self.rewards.sum(axis=1)

    @property
    def is_reached(self) -> np.ndarray:
        """Whether there was a reward at all: the goal was reached. Shape `[M]`, bool."""
        return np.any(self.rewards > 0.0, axis=1)


def follow_plans(
    plan_fn: PlanFn,
    inverse_fn: InverseFn,
    envs: Sequence[gym.Env],
    goal: np.ndarray,
    num_steps: int,
    seed: int = 0,
) -> FollowedPlans:
    """Plans once for each environment, and goes through its plan without planning again.

    Every action is the one that leads from where the environment is to the next state of the plan; after the
    plan, to its last state. Janner et al. (2022) take `a = (p' - p) + (v' - v)` instead of learned inverse
    dynamics; Duan et al. (2025), RACTD, Section 4.2, learn them.

    Args:
      plan_fn: plans.
      inverse_fn: gives actions.
      envs: environments of one kind, one for each plan; they are reset.
      goal: state to end in. Shape `[S]`.
      num_steps: steps of an episode, which may end before.
      seed: of the episodes' resets.

    Returns:
      The episodes.

    Raises:
      ValueError: if there is no environment or no step, or if the goal, a plan or actions have another shape,
        or a plan is not finite.
      RuntimeError: if physics fails.
    """
    if not envs:
        raise ValueError("`envs` must hold at least one environment, got none")
    check_at_least_one("num_steps", num_steps)
    seeds = np.random.SeedSequence(seed).generate_state(len(envs))
    first = [env.reset(seed=int(s) % 2**31)[0] for env, s in zip(envs, seeds, strict=True)]
    start = np.stack(first).astype(np.float32)
    check_shape("goal", goal, (start.shape[1],))
    plans = plan_fn(start, np.broadcast_to(goal.astype(np.float32), start.shape))
    check_shape("plan_fn(start, goal)", plans, (len(envs), None, start.shape[1]))
    check_finite("plan_fn(start, goal)", plans)
    paths = np.repeat(start[:, None], num_steps + 1, axis=1)
    rewards = np.zeros((len(envs), num_steps))
    is_running = np.ones(len(envs), bool)
    for step in range(num_steps):
        running = np.flatnonzero(is_running)
        if not len(running):
            break
        target = plans[running, min(step + 1, plans.shape[1] - 1)]
        actions = inverse_fn(paths[running, step], target)
        check_shape("inverse_fn(state, next_state)", actions, (len(running), None))
        for index, action in zip(running.tolist(), np.clip(actions, -1.0, 1.0), strict=True):
            taken = step_env(envs[index], action)
            if taken is None:
                raise RuntimeError(f"physics failed in episode {index} at step {step}")
            paths[index, step + 1 :] = taken.observation
            rewards[index, step] = taken.reward
            is_running[index] = not (taken.terminated or taken.truncated)
    return FollowedPlans(plans, paths, rewards)
