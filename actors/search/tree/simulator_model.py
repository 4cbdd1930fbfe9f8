"""A simulator, a policy and its value function as the model of a tree search."""

import numpy as np

from actors.search.tree.engine import Expansion
from actors.simulators.base import Simulator
from distill_rl.policies.base import SearchPolicy


class SimulatorModel:
    """Steps a simulator; new nodes get actions sampled from the policy, and its value.

    Actions sampled from the policy itself have a uniform prior: `(beta_hat / beta) pi` of Hubert et al.
    (2021), "Learning and planning in complex action spaces", Section 4, with `beta = pi` and distinct
    samples. The first one is the zero-noise action.

    An edge whose simulation diverges ends the episode there with the worst reward seen so far; it is counted.

    Attributes:
      num_diverged: edges whose simulation diverged.
    """

    def __init__(
        self,
        simulator: Simulator,
        policy: SearchPolicy,
        generator: np.random.Generator,
        *,
        num_actions: int,
        discount: float,
    ):
        """Builds the model.

        Args:
          simulator: steps states.
          policy: proposes actions, and values states.
          generator: source of the policy's noise.
          num_actions: `K`, candidates of every node.
          discount: of one step.
        """
        self._simulator = simulator
        self._policy = policy
        self._generator = generator
        self._num_actions = num_actions
        self._discount = discount
        self._worst_reward = 0.0
        self.num_diverged = 0

    def propose(self, observation: np.ndarray) -> np.ndarray:
        """Returns candidate actions: the zero-noise action, then samples. Shapes `[M, O]` to `[M, K, A]`."""
        mode = self._policy.act(observation, 0.0, self._generator)[:, None]
        num_samples = self._num_actions - 1
        if num_samples == 0:
            return mode
        samples = self._policy.act(np.repeat(observation, num_samples, axis=0), 1.0, self._generator)
        return np.concatenate([mode, samples.reshape(len(mode), num_samples, -1)], axis=1)

    def expand(self, state: np.ndarray, action: np.ndarray) -> Expansion:
        """Takes one step from each state; see `SearchModel`."""
        step = self._simulator.step(state, action)
        is_sound = np.isfinite(step.reward) & np.isfinite(step.observation).all(axis=1)
        self.num_diverged += int((~is_sound).sum())
        if is_sound.any():
            self._worst_reward = min(self._worst_reward, float(step.reward[is_sound].min()))
        observation = np.where(is_sound[:, None], step.observation, 0.0).astype(np.float32)
        return Expansion(
            state=step.state,
            reward=np.where(is_sound, step.reward, self._worst_reward),
            discount=np.where(is_sound, self._discount * step.discount, 0.0),
            actions=self.propose(observation),
            prior_logits=np.zeros((len(observation), self._num_actions)),
            value=self._policy.value(observation).astype(np.float64),
        )
