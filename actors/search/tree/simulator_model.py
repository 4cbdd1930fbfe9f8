"""A simulator, a policy and its value function as the model of a tree search."""

import numpy as np

from actors.search.tree.candidates import CandidatesFn
from actors.search.tree.tree import Expansion
from actors.simulators.base import Simulator
from distill_rl.policies.base import SearchPolicy


class SimulatorModel:
    """Steps a simulator; new nodes get actions proposed about the policy, and its value.

    A step whose simulation diverges is lost (see `Expansion`); its observation is not finite. It is counted.

    Attributes:
      num_expanded: edges simulated.
      num_diverged: those of them whose simulation diverged.
    """

    def __init__(
        self,
        simulator: Simulator,
        policy: SearchPolicy,
        generator: np.random.Generator,
        candidates_fn: CandidatesFn,
        *,
        num_actions: int,
        discount: float,
    ):
        """Builds the model.

        Args:
          simulator: steps states.
          policy: values states, and is what actions are proposed about.
          generator: source of every draw.
          candidates_fn: proposes actions.
          num_actions: of every new node.
          discount: of one step.
        """
        self._simulator = simulator
        self._policy = policy
        self._generator = generator
        self._candidates_fn = candidates_fn
        self._num_actions = num_actions
        self._discount = discount
        self.num_expanded = 0
        self.num_diverged = 0

    def expand(self, state: np.ndarray, action: np.ndarray) -> Expansion:
        """Takes one step from each state; see `SearchModel`. Shapes `[M, S]`, `[M, A]`."""
        step = self._simulator.step(state, action)
        is_sound = np.isfinite(step.reward) & np.isfinite(step.observation).all(axis=1)
        observation = np.where(is_sound[:, None], step.observation, np.float32(0.0)).astype(np.float32)
        value = self._policy.value(observation).astype(np.float64)
        is_sound &= np.isfinite(value)
        self.num_expanded += len(is_sound)
        self.num_diverged += int((~is_sound).sum())
        actions, prior_logits = self._candidates_fn(
            self._policy, observation, self._num_actions, self._generator
        )
        return Expansion(
            state=step.state,
            observation=np.where(is_sound[:, None], step.observation, np.float32(np.nan)),
            reward=step.reward,
            discount=self._discount * step.discount,
            actions=actions,
            prior_logits=prior_logits,
            value=value,
            is_lost=~is_sound,
        )
