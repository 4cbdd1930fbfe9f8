"""Values of first actions by rollouts that follow the policy and end in its value function."""

import dataclasses

import numpy as np

from actors.simulators.base import Rollout, Simulator
from distill_rl.policies.base import SearchPolicy


@dataclasses.dataclass(frozen=True)
class PolicyRollouts:
    """Trajectories of `H` steps from given first actions.

    Attributes:
      returns: `sum_h discount^h r_h + discount^H V(s_H)`; NaN where the simulation diverged. Shape `[M]`.
      observation: of every state from the first to the one after the last step. Shape `[M, H + 1, O]`.
      actions: shape `[M, H, A]`.
      rewards_to_go: sum of the discounted rewards from each step to the end of the rollout, without the
        value beyond it. Shape `[M, H]`.
      is_alive: whether no termination lies before that state. Shape `[M, H + 1]`, bool.
    """

    returns: np.ndarray  # [M]
    observation: np.ndarray  # [M, H + 1, O]
    actions: np.ndarray  # [M, H, A]
    rewards_to_go: np.ndarray  # [M, H]
    is_alive: np.ndarray  # [M, H + 1]


def roll_out_policy(
    simulator: Simulator,
    state: np.ndarray,
    first_action: np.ndarray,
    noise: np.ndarray,
    policy: SearchPolicy,
    generator: np.random.Generator,
    *,
    num_steps: int,
    hold_steps: int,
    discount: float,
) -> PolicyRollouts:
    """Rolls out first actions, following the policy afterwards.

    The first action is given; later ones are the zero-noise policy's plus the noise of their segment,
    projected to [-1, 1]. Past a termination nothing is counted; a time limit plays no part, so the value
    beyond it is bootstrapped. All rollouts advance together: one call of the simulator for each step.

    Args:
      simulator: model of the environment.
      state: states the rollouts start in. Shape `[M, S]`.
      first_action: shape `[M, A]`.
      noise: added to the policy's action over consecutive segments of `hold_steps`; zero beyond the last one.
        Shape `[M, G, A]`.
      policy: the policy to follow, with its value function.
      generator: passed to the policy.
      num_steps: `H`.
      hold_steps: steps of a segment.
      discount: of one step.

    Returns:
      The trajectories with their returns.
    """
    # Time first, as they are written.
    observations = np.empty((num_steps + 1, len(state), simulator.observation_size), np.float32)
    actions = np.empty((num_steps, *first_action.shape), np.float32)

    def action_fn(step: int, observation: np.ndarray) -> np.ndarray:
        observations[step] = observation
        action = actions[step] = first_action if step == 0 else follow(step, observation)
        return action

    def follow(step: int, observation: np.ndarray) -> np.ndarray:
        action = policy.act(_without_diverged(observation), 0.0, generator)
        segment = step // hold_steps
        return action if segment >= noise.shape[1] else np.clip(action + noise[:, segment], -1.0, 1.0)

    rollout = simulator.rollout(state, action_fn, num_steps)
    observations[num_steps] = rollout.observation
    is_alive = np.ones((len(state), num_steps + 1), bool)
    is_alive[:, 1:] = rollout.discount.cumprod(axis=1) > 0.0
    no_value = np.zeros(len(state))
    return PolicyRollouts(
        returns=bootstrapped_returns(rollout, policy, discount),
        observation=observations.swapaxes(0, 1),
        actions=actions.swapaxes(0, 1),
        rewards_to_go=discounted_returns(rollout.reward, rollout.discount, no_value, discount),
        is_alive=is_alive,
    )


def bootstrapped_returns(rollout: Rollout, policy: SearchPolicy, discount: float) -> np.ndarray:
    """Returns `sum_h discount^h r_h + discount^H V(s_H)`, up to a termination.

    Args:
      rollout: of `M` trajectories.
      policy: whose value function goes on where a rollout stops.
      discount: of one step.

    Returns:
      Returns; NaN where the simulation diverged. Shape `[M]`.
    """
    is_alive = rollout.discount.prod(axis=1) > 0.0
    is_diverged = ~np.isfinite(rollout.observation).all(axis=1)
    value = policy.value(_without_diverged(rollout.observation)).astype(np.float64)
    value = np.where(is_alive, np.where(is_diverged, np.nan, value), 0.0)
    return discounted_returns(rollout.reward, rollout.discount, value, discount)[:, 0]


def discounted_returns(
    reward: np.ndarray, step_discount: np.ndarray, bootstrap: np.ndarray, discount: float
) -> np.ndarray:
    """Returns `G_h` of the recursion `G_h = r_h + discount * d_h * G_{h+1}`, `G_H = bootstrap`.

    Args:
      reward: shape `[M, H]`.
      step_discount: `d_h`, 0 where step h terminated the episode. Shape `[M, H]`.
      bootstrap: value of the state after the last step. Shape `[M]`.
      discount: of one step.

    Returns:
      Shape `[M, H]`.
    """
    returns = np.empty_like(reward, np.float64)
    total = bootstrap
    for step in reversed(range(reward.shape[1])):
        total = reward[:, step] + discount * step_discount[:, step] * total
        returns[:, step] = total
    return returns


def _without_diverged(observation: np.ndarray) -> np.ndarray:
    """Returns observations with zeros in place of what is not finite, for the networks."""
    # All at once first: a finite sum of squares has finite terms.
    if np.isfinite(np.vdot(observation, observation)):
        return observation
    return np.where(np.isfinite(observation), observation, np.float32(0.0))
