"""Improvement without a simulator: policy samples weighed by a learned value function of actions."""

import dataclasses
from typing import ClassVar, cast

import numpy as np

from actors.operators.base import ImprovementOperator, diagnose, expectation
from actors.operators.config import BoltzmannConfig
from actors.search.temperature import improved_policy
from distill_rl.policies.base import CriticPolicy, SearchPolicy
from distill_rl.types import ReferenceSet


@dataclasses.dataclass(frozen=True)
class CriticConfig(BoltzmannConfig):
    """Settings of `Critic`; see also `BoltzmannConfig`.

    Attributes:
      is_temperature_shared: one temperature for all states of a batch, which meets `target_kl` in the mean
        over them, as MPO has it, instead of one each.
    """

    is_temperature_shared: bool = False

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        if self.is_temperature_shared and self.target_ess is not None:
            raise ValueError(
                f"`is_temperature_shared` goes with target_kl, got target_ess={self.target_ess} too"
            )


class Critic(ImprovementOperator):
    """An operator over samples of the policy: `p* ~ pi exp(Q / eta)`.

    Source: Abdolmaleki et al. (2018), "Maximum a posteriori policy optimisation", Section 4.1.
    """

    config_type: ClassVar[type[CriticConfig]] = CriticConfig
    config: CriticConfig
    needs_simulator: ClassVar[bool] = False

    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Improves on `policy` at a batch of states.

        Args:
          observation: shape `[B, O]`, float32.
          state: not used.
          policy: a `CriticPolicy`.
          generator: source of every random draw.
          policy_version: version of `policy`, stamped on the result.

        Returns:
          A reference set in the mass convention, without transitions.

        Raises:
          ValueError: if the policy has no value function of actions.
        """
        if not hasattr(policy, "q_value"):
            raise ValueError(f"`policy` must have a method `q_value` for this operator, got {policy!r}")
        critic = cast(CriticPolicy, policy)
        config = self.config
        repeated = np.repeat(observation, config.num_candidates, axis=0)
        actions = policy.act(repeated, 1.0, generator)
        q_values = critic.q_value(repeated, actions).astype(np.float64).reshape(len(observation), -1)
        log_weights, temperature = improved_policy(
            q_values,
            target_kl=config.target_kl,
            target_ess=config.target_ess,
            is_shared=config.is_temperature_shared,
        )
        value, policy_value = expectation(log_weights, q_values), q_values.mean(axis=1)
        self.last_search = diagnose(
            log_weights,
            value,
            policy_value,
            temperature=temperature,
            diverged_fraction=0.0,
            simulator_steps=0,
        )
        return ReferenceSet(
            observation=observation,
            actions=actions.reshape(len(observation), config.num_candidates, -1),
            log_probs=log_weights.astype(np.float32),
            log_proposals=np.zeros(log_weights.shape, np.float32),
            value=value.astype(np.float32),
            policy_value=policy_value.astype(np.float32),
            policy_version=policy_version,
        )
