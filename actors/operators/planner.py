"""What the operators that plan share: rounds of plans about a nominal one, compared by open-loop rollouts."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from actors.operators.base import ImprovementOperator, diagnose, expectation
from actors.operators.config import HorizonConfig
from actors.search.plans import Plans, sample_plans, shift_plan
from actors.search.rollouts import PolicyRollouts, bootstrapped_returns, roll_out_policy
from actors.search.transitions import draw_transitions
from actors.simulators.base import Simulator
from distill_rl.checks import check_at_least_one, check_positive, check_shape
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet


@dataclasses.dataclass(frozen=True)
class PlannerConfig(HorizonConfig):
    """Settings of planners; see also `HorizonConfig`. Candidates are the first actions of plans.

    Attributes:
      num_iterations: rounds of plans, each about the mean of the last one's improved policy.
      scale: standard deviation of the first round's held noise, before squashing; actions span [-1, 1].
    """

    num_candidates: int = 32
    num_iterations: int = 1
    scale: float = 0.6

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        check_at_least_one("num_iterations", self.num_iterations)
        check_positive("scale", self.scale)


@dataclasses.dataclass(frozen=True)
class PlanningResult:
    """What the last round of a planner found.

    Attributes:
      plans: of every root.
      returns: bootstrapped; NaN where the simulation diverged. Shape `[B, n]`.
      log_weights: of the improved policy over plans, normalised. Shape `[B, n]`.
      temperature: of each root, for planners that have one. Shape `[B]`.
      mean_plan: of the improved policy. Shape `[B, H, A]`.
    """

    plans: Plans
    returns: np.ndarray
    log_weights: np.ndarray
    temperature: np.ndarray | None
    mean_plan: np.ndarray


class Planner(ImprovementOperator):
    """An operator that draws plans about what the policy would do.

    The reference set is of the density convention: candidates are the first actions of the last round's
    plans, best first, `log_proposals` is the density they were drawn from, and
    `log_probs = log_proposals + log(n w)` for weights `w` of the plans.

    Labels depend on the state alone: the nominal plan is the zero-noise policy's own, never one carried over
    from the last step. Whoever plans without a policy to distil may carry plans over, by `plan`.
    """

    config_type: ClassVar[type[PlannerConfig]]
    config: PlannerConfig

    def __init__(self, simulator: Simulator, config: PlannerConfig | None = None):
        """Builds the operator.

        Args:
          simulator: model of the environment.
          config: settings.

        Raises:
          ValueError: if the settings are in seconds and the simulator does not know how long a step takes.
        """
        super().__init__(simulator, config)
        self.horizon_steps, self.hold_steps = self.config.resolve_steps(simulator.control_timestep_sec)

    @abc.abstractmethod
    def _weigh(self, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns log-weights of plans `[B, n]`, and temperatures `[B]` if there are any."""

    @abc.abstractmethod
    def _next_scale(
        self, weights: np.ndarray, offsets: np.ndarray, offset_mean: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """Returns the noise of the next round. Shape `[B, G, A]`."""

    def plan(
        self, state: np.ndarray, nominal: np.ndarray, policy: SearchPolicy, generator: np.random.Generator
    ) -> PlanningResult:
        """Plans from a nominal plan.

        Args:
          state: simulator states. Shape `[B, S]`.
          nominal: plan of each root to start from. Shape `[B, H, A]`.
          policy: whose value function goes on where a plan stops.
          generator: source of every random draw.

        Returns:
          The last round.

        Raises:
          ValueError: if the shapes disagree.
        """
        config = self.config
        num_roots, action_size = len(state), self.simulator.action_size
        check_shape("nominal", nominal, (num_roots, self.horizon_steps, action_size))
        offset_mean = np.zeros_like(nominal[:, :: self.hold_steps], np.float64)
        scale = np.full(offset_mean.shape, config.scale)
        repeated = np.repeat(state, config.num_candidates, axis=0)
        for iteration in range(config.num_iterations):
            plans = sample_plans(
                nominal,
                offset_mean,
                scale,
                generator,
                num_plans=config.num_candidates,
                hold_steps=self.hold_steps,
            )
            rollout = self.simulator.rollout(repeated, plans.actions.reshape(-1, *nominal.shape[1:]))
            returns = bootstrapped_returns(rollout, policy, config.discount).reshape(num_roots, -1)
            log_weights, temperature = self._weigh(returns)
            weights = np.exp(log_weights)
            offset_mean = np.einsum("bn,bnga->bga", weights, plans.offsets)
            if iteration + 1 < config.num_iterations:
                scale = self._next_scale(weights, plans.offsets, offset_mean, scale)
        mean_plan = shift_plan(nominal, offset_mean, self.hold_steps)
        return PlanningResult(plans, returns, log_weights, temperature, mean_plan)

    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Improves on `policy` at a batch of states.

        `value` is the weighted mean of returns; `policy_value` that of the zero-noise policy's own rollout,
        of which `transitions` are stretches.

        Args:
          observation: shape `[B, O]`, float32.
          state: simulator states. Shape `[B, S]`.
          policy: the policy to improve on, with its value function.
          generator: source of every random draw.
          policy_version: version of `policy`, stamped on the result.

        Returns:
          A reference set in the density convention; NaN values mark states where the policy's rollout, or
          every plan, diverged.

        Raises:
          ValueError: if the shapes disagree.
        """
        check_shape("observation", observation, (len(state), self.simulator.observation_size))
        first_simulator_step = self.simulator.num_steps
        followed = self._follow(observation, state, policy, generator)
        found = self.plan(state, followed.actions, policy, generator)
        ranking = np.argsort(
            np.where(np.isfinite(found.returns), -found.returns, np.inf), axis=1, kind="stable"
        )
        returns, log_weights, log_proposals = (
            np.take_along_axis(array, ranking, axis=1)
            for array in (found.returns, found.log_weights, found.plans.log_proposals)
        )
        actions = np.take_along_axis(found.plans.actions[:, :, 0], ranking[..., None], axis=1)
        policy_value = followed.returns
        is_lost = np.isnan(policy_value) | np.isnan(returns).all(axis=1)
        value = np.where(is_lost, np.nan, expectation(log_weights, returns))
        self.last_search = diagnose(
            log_weights,
            value,
            policy_value,
            temperature=found.temperature,
            diverged_fraction=float(np.isnan(returns).mean()),
            simulator_steps=self.simulator.num_steps - first_simulator_step,
        )
        return ReferenceSet(
            observation=observation,
            actions=actions.astype(np.float32),
            log_probs=(log_proposals + log_weights + np.log(returns.shape[1])).astype(np.float32),
            log_proposals=log_proposals.astype(np.float32),
            value=value.astype(np.float32),
            policy_value=policy_value.astype(np.float32),
            policy_version=policy_version,
            convention="density",
            transitions=draw_transitions(
                followed,
                np.zeros(1, np.int64),
                policy_value,
                self.config.num_transitions,
                self.config.discount,
                generator,
            ),
        )

    def _follow(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
    ) -> PolicyRollouts:
        """Rolls out the zero-noise policy from every root."""
        first_action = policy.act(observation, 0.0, generator)
        return roll_out_policy(
            self.simulator,
            state,
            first_action,
            np.zeros((len(state), 0, first_action.shape[1]), np.float32),
            policy,
            generator,
            num_steps=self.horizon_steps,
            hold_steps=self.hold_steps,
            discount=self.config.discount,
        )
