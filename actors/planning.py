"""Operators that decide without anything learned: step by step, and as a behaviour to collect episodes of."""

from collections.abc import Sequence

import numpy as np

from actors.collection import Behaviour, RunningEpisode
from actors.operators.base import ImprovementOperator
from actors.operators.planner import Planner
from actors.search.proposals import truncated_normal_sample
from actors.stepping import best_actions, stack_states
from distill_rl.checks import check_positive
from distill_rl.policies.base import SearchPolicy

Plan = np.ndarray | None
"""What a planner goes on from, `[H, A]`; None starts from zeros."""


class UninformedPolicy:
    """Knows nothing: its zero-noise action is zero, its samples are uniform, every state is worth nothing."""

    def __init__(self, action_size: int):
        self._action_size = action_size

    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        """Returns zeros, or uniform samples. Shape `[M, A]`."""
        shape = (len(observation), self._action_size)
        if noise_scale == 0.0:
            return np.zeros(shape, np.float32)
        return generator.uniform(-1.0, 1.0, shape).astype(np.float32)

    def value(self, observation: np.ndarray) -> np.ndarray:
        """Returns zeros. Shape `[M]`."""
        return np.zeros(len(observation), np.float32)


def decide(
    operator: ImprovementOperator,
    policy: SearchPolicy,
    observation: np.ndarray,
    state: np.ndarray,
    plans: list[Plan],
    generator: np.random.Generator,
) -> tuple[np.ndarray, list[Plan]]:
    """Decides once in each state: planners by the mean of their plans, others by their best candidate.

    Planners start from the plan of the decision before, one step further.

    Args:
      operator: to decide with.
      policy: that it improves on.
      observation: shape `[B, O]`.
      state: simulator states. Shape `[B, S]`.
      plans: `B` of them, as the decisions before left them.
      generator: source of every random draw.

    Returns:
      Actions `[B, A]`, and the plans for the decisions after; those of other operators stay as they are.

    Raises:
      ValueError: if the shapes disagree.
    """
    if not isinstance(operator, Planner):
        return best_actions(operator.improve(observation, state, policy, generator)), plans
    blank = np.zeros((operator.horizon_steps, operator.simulator.action_size))
    nominal = np.stack([blank if plan is None else plan for plan in plans])
    plan = operator.plan(state, nominal, policy, generator).mean_plan
    return plan[:, 0], list(np.concatenate([plan[:, 1:], plan[:, -1:]], axis=1))


def planning_behaviour(operator: ImprovementOperator, scale: float) -> Behaviour:
    """Returns the behaviour that draws from a normal distribution about decisions, conditioned on [-1, 1].

    Plans are carried over within an episode, and end with it. Densities are not known: decisions are drawn
    themselves.

    Args:
      operator: to decide with, by a simulator of the environments that are collected in.
      scale: standard deviation before truncation; actions span [-1, 1].

    Raises:
      ValueError: if `scale` is not positive.
    """
    check_positive("scale", scale)
    simulator, policy = operator.simulator, UninformedPolicy(operator.simulator.action_size)

    def behave(episodes: Sequence[RunningEpisode], generator: np.random.Generator) -> tuple[np.ndarray, None]:
        observation = np.stack([episode.observation for episode in episodes])
        state = stack_states([simulator.snapshot(episode.env) for episode in episodes])
        last_plans = [episode.plan for episode in episodes]
        actions, plans = decide(operator, policy, observation, state, last_plans, generator)
        for episode, plan in zip(episodes, plans, strict=True):
            episode.plan = plan
        noisy = truncated_normal_sample(np.asarray(actions, np.float64), np.array(scale), generator)
        return noisy.astype(np.float32), None

    return behave
