"""No improvement: what is left of a method without its search."""

from typing import ClassVar

import numpy as np

from actors.operators.base import ImprovementOperator, diagnose
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet


class PolicySamples(ImprovementOperator):
    """An operator that returns samples of the policy, all equally probable, for ablations."""

    needs_simulator: ClassVar[bool] = False

    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Samples `policy` at a batch of states; both values are the policy's own.

        Args:
          observation: shape `[B, O]`, float32.
          state: not used.
          policy: the policy to sample, with its value function.
          generator: source of every random draw.
          policy_version: version of `policy`, stamped on the result.

        Returns:
          A reference set in the mass convention, without transitions.
        """
        count = self.config.num_candidates
        actions = policy.act(np.repeat(observation, count, axis=0), 1.0, generator)
        log_weights = np.full((len(observation), count), -np.log(count))
        value = policy.value(observation)
        self.last_search = diagnose(log_weights, value, value, diverged_fraction=0.0, simulator_steps=0)
        return ReferenceSet(
            observation=observation,
            actions=actions.reshape(len(observation), count, -1),
            log_probs=log_weights.astype(np.float32),
            log_proposals=np.zeros(log_weights.shape, np.float32),
            value=value,
            policy_value=value,
            policy_version=policy_version,
        )
