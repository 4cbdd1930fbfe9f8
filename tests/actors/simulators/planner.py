"""A small planner for tests: predictive sampling with held noise around a carried plan."""

import gymnasium as gym
import numpy as np

from actors.simulators.base import Simulator


def plan_steps(
    env: gym.Env,
    simulator: Simulator,
    num_steps: int,
    *,
    num_samples: int = 32,
    horizon: int = 24,
    hold: int = 4,
    noise: float = 0.6,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Acts in a live environment by MPPI: weights `exp((G - max G) / (0.1 std G))` over held-noise plans.

    Returns:
      The executed actions `[num_steps, A]` and the rewards the environment gave `[num_steps]`.
    """
    generator = np.random.default_rng(seed)
    plan = np.zeros((horizon, simulator.action_size))
    actions, rewards = [], []
    for _ in range(num_steps):
        knots = generator.normal(0.0, noise, (num_samples, -(-horizon // hold), simulator.action_size))
        knots[0] = 0.0
        plans = np.clip(plan + np.repeat(knots, hold, axis=1)[:, :horizon], -1.0, 1.0)
        state = np.repeat(simulator.snapshot(env)[None], num_samples, axis=0)
        returns = simulator.rollout(state, plans).reward.sum(axis=1)
        weights = np.exp((returns - returns.max()) / (0.1 * returns.std() + 1e-9))
        plan = np.tensordot(weights / weights.sum(), plans, axes=1)
        actions.append(plan[0].astype(np.float32))
        rewards.append(env.step(actions[-1])[1])
        plan = np.concatenate([plan[1:], plan[-1:]])
    return np.array(actions), np.array(rewards)
