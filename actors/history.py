"""The last real steps of a running episode."""

from collections.abc import Sequence

import numpy as np

from actors.stepping import EnvStep
from distill_rl.types import EpisodeSteps


class EpisodeHistory:
    """Keeps the last `H` steps of an episode.

    Args:
      num_steps: `H`.
      observation: the first one of the episode. Shape `[O]`.
    """

    def __init__(self, num_steps: int, observation: np.ndarray):
        self.num_steps = num_steps
        self.observations = [observation]
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []
        self.discounts: list[float] = []

    def add(self, action: np.ndarray, step: EnvStep) -> None:
        """Adds a step, and forgets the oldest one if there are too many.

        Args:
          action: shape `[A]`.
          step: what followed.
        """
        self.observations = [*self.observations[-self.num_steps :], step.observation]
        self.actions = [*self.actions, action][-self.num_steps :]
        self.rewards = [*self.rewards, step.reward][-self.num_steps :]
        self.discounts = [*self.discounts, float(not step.terminated)][-self.num_steps :]


def stack_histories(histories: Sequence[EpisodeHistory], action_size: int) -> EpisodeSteps:
    """Stacks the histories of several episodes; missing steps follow after those there are, not valid.

    Args:
      histories: of one number of steps. One that had no sound step yet has only its first observation.
      action_size: `A`.

    Returns:
      The steps. Shapes `[B, H, ...]`.
    """
    num_steps = histories[0].num_steps
    shape = (len(histories), num_steps)
    stacked = EpisodeSteps(
        observation=np.zeros((len(histories), num_steps + 1, len(histories[0].observations[0])), np.float32),
        action=np.zeros((*shape, action_size), np.float32),
        reward=np.zeros(shape, np.float32),
        discount=np.ones(shape, np.float32),
        is_valid=np.zeros(shape, np.float32),
    )
    for row, history in enumerate(histories):
        count = len(history.actions)
        stacked.observation[row, : count + 1] = history.observations
        if count:
            stacked.action[row, :count] = history.actions
        stacked.reward[row, :count] = history.rewards
        stacked.discount[row, :count] = history.discounts
        stacked.is_valid[row, :count] = 1.0
    return stacked
