"""Data of the policy's value function, drawn from the rollouts of a search.

A search visits many states near each root, and those are the states at which it asks for values. Every
stretch of a rollout in which the policy itself acted tells its value there, at no cost.
"""

import numpy as np

from actors.search.rollouts import PolicyRollouts
from distill_rl.types import NStepTransitions


def draw_transitions(
    rollouts: PolicyRollouts,
    first_policy_step: np.ndarray,
    fallback_value: np.ndarray,
    num_transitions: int,
    discount: float,
    generator: np.random.Generator,
) -> NStepTransitions:
    """Draws stretches of rollouts from a state in which the policy acts to the end of the rollout.

    The stretch of the first rollout from its first state, the root, always stands first; the others are drawn
    uniformly among all states in which the policy acts. A stretch that diverged, or starts after a
    termination, is replaced by the root with the value it is known to have.

    Args:
      rollouts: `k` rollouts of each root, root by root, the first of which follows the policy from the start;
        `M = B k`.
      first_policy_step: step of each of a root's rollouts from which on the policy acts without noise; `H` or
        more where it never does. Shape `[k]`.
      fallback_value: value of the policy at the roots. Shape `[B]`.
      num_transitions: `T`, stretches of each root.
      discount: of one step.
      generator: source of the draws.

    Returns:
      The stretches; `reward` in reward units. Shapes `[B, T, ...]`.
    """
    num_states, num_rollouts = len(fallback_value), len(first_policy_step)
    num_steps = rollouts.rewards_to_go.shape[1]
    # Where a stretch may start, the same for every root.
    rollout_index, step = np.nonzero(np.arange(num_steps) >= first_policy_step[:, None])
    drawn = generator.integers(len(step), size=(num_states, num_transitions))
    drawn[:, 0] = 0
    start = step[drawn]
    row = np.arange(num_states)[:, None] * num_rollouts + rollout_index[drawn]
    observation = rollouts.observation[row, start]
    next_observation = rollouts.observation[row, num_steps]
    reward = rollouts.rewards_to_go[row, start]
    reaches_end = rollouts.is_alive[row, num_steps]
    # What follows a termination is neither rewarded nor valued, finite or not.
    next_observation = np.where(reaches_end[..., None], next_observation, observation)
    is_sound = rollouts.is_alive[row, start] & np.isfinite(reward)
    is_sound &= np.isfinite(observation).all(axis=2) & np.isfinite(next_observation).all(axis=2)
    root = rollouts.observation[::num_rollouts, :1]
    return NStepTransitions(
        observation=np.where(is_sound[..., None], observation, root),
        reward=np.where(is_sound, reward, fallback_value[:, None]).astype(np.float32),
        discount=np.where(is_sound & reaches_end, discount ** (num_steps - start), 0.0).astype(np.float32),
        next_observation=np.where(is_sound[..., None], next_observation, root),
    )
