"""The root bandit: candidate actions compared by rollouts that follow the policy."""

import dataclasses
from typing import ClassVar

import numpy as np

from actors.operators.base import ImprovementOperator, SearchDiagnostics, diagnose, expectation
from actors.operators.config import RootBanditConfig
from actors.search.ascent import ascent_direction
from actors.search.candidates import Candidates, held_noise, propose_candidates
from actors.search.halving import halving_schedule, keep_best
from actors.search.rollouts import PolicyRollouts, roll_out_policy
from actors.search.temperature import improved_policy
from actors.search.transitions import draw_transitions
from actors.simulators.base import Simulator
from distill_rl.checks import check_shape
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import NStepTransitions, ReferenceSet


@dataclasses.dataclass(frozen=True)
class RootBanditDiagnostics(SearchDiagnostics):
    """What one search did; see also `SearchDiagnostics`.

    Attributes:
      perturbed_mass: mass of the improved policy on perturbed candidates.
    """

    perturbed_mass: float


class RootBandit(ImprovementOperator):
    """An operator without a tree: a bandit over first actions.

    Each candidate's value is the mean return of rollouts that take it, follow the zero-noise policy and end
    in the policy's value function. The last `len(ascent_steps)` candidates are chosen by the others' values:
    steps from the zero-noise action along the direction in which a linear fit to the perturbed ones rises.
    The improved policy is `softmax(Q / eta)` over the candidates, with eta set for each state by a target
    divergence from the uniform prior.

    Candidates that diverge get no mass. A state whose zero-noise rollout diverges is marked by NaN in `value`
    and `policy_value`; whoever called the search drops it.
    """

    config_type: ClassVar[type[RootBanditConfig]] = RootBanditConfig
    config: RootBanditConfig

    def __init__(self, simulator: Simulator, config: RootBanditConfig | None = None):
        """Builds the operator.

        Args:
          simulator: model of the environment.
          config: settings.

        Raises:
          ValueError: if the settings are in seconds and the simulator does not know how long a step takes.
        """
        super().__init__(simulator, config)
        self.horizon_steps, self.hold_steps = self.config.resolve_steps(simulator.control_timestep_sec)
        self._schedule = halving_schedule(self.config.num_candidates, self.config.rollouts_per_round)

    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Improves on `policy` at a batch of states.

        `value` is `sum_k p*_k Q_k`. `policy_value` is the return of the zero-noise policy: what the policy
        itself is worth, with no credit for the search. `transitions` are stretches of the first round's
        rollouts.

        Args:
          observation: shape `[B, O]`, float32.
          state: simulator states. Shape `[B, S]`.
          policy: the policy to improve on, with its value function.
          generator: source of every random draw.
          policy_version: version of `policy`, stamped on the result.

        Returns:
          A reference set in the mass convention; NaN values mark states whose simulations all diverged.

        Raises:
          ValueError: if the shapes disagree.
        """
        check_shape("observation", observation, (len(state), self.simulator.observation_size))
        first_simulator_step = self.simulator.num_steps
        candidates = propose_candidates(
            policy,
            observation,
            generator,
            num_candidates=self.config.num_candidates - len(self.config.ascent_steps),
            num_perturbed=self.config.num_perturbed,
            perturbation_scales=self.config.perturbation_scales,
        )
        q_values, rollouts = self._roll_out(state, candidates, policy, generator)
        policy_value = rollouts.returns[:: len(rollouts.returns) // len(state)]
        transitions = self._draw_transitions(rollouts, candidates, policy_value, generator)
        if self.config.ascent_steps:
            candidates, q_values = self._ascend(state, candidates, q_values, policy, generator)
        q_values = self._halve(state, candidates, q_values, policy, generator)
        log_probs, temperature = improved_policy(
            q_values, target_kl=self.config.target_kl, target_ess=self.config.target_ess
        )
        value = np.where(np.isnan(policy_value), np.nan, expectation(log_probs, q_values))
        common = diagnose(
            log_probs,
            value,
            policy_value,
            temperature=temperature,
            diverged_fraction=float(np.isnan(q_values).mean()),
            simulator_steps=self.simulator.num_steps - first_simulator_step,
        )
        perturbed_mass = float(np.exp(log_probs[:, candidates.is_perturbed]).sum(axis=1).mean())
        self.last_search = RootBanditDiagnostics(**vars(common), perturbed_mass=perturbed_mass)
        return ReferenceSet(
            observation=observation,
            actions=candidates.actions,
            log_probs=log_probs.astype(np.float32),
            log_proposals=np.zeros(log_probs.shape, np.float32),
            value=value.astype(np.float32),
            policy_value=policy_value.astype(np.float32),
            policy_version=policy_version,
            transitions=transitions,
        )

    def _ascend(
        self,
        state: np.ndarray,
        candidates: Candidates,
        q_values: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
    ) -> tuple[Candidates, np.ndarray]:
        """Adds the candidates along the ascent direction, and their values."""
        # Samples of the policy are left out: they act for one step only.
        is_fitted = candidates.is_perturbed.copy()
        is_fitted[0] = True
        displacements = candidates.actions[:, is_fitted] - candidates.mode[:, None]
        direction = ascent_direction(displacements, q_values[:, is_fitted])
        steps = np.asarray(self.config.ascent_steps, np.float32)
        num_before = candidates.actions.shape[1]
        candidates = candidates.with_perturbed(steps[:, None] * direction[:, None])
        added = np.broadcast_to(np.arange(num_before, num_before + len(steps)), (len(state), len(steps)))
        more, _ = self._roll_out(state, candidates, policy, generator, added)
        return candidates, np.concatenate([q_values, more], axis=1)

    def _halve(
        self,
        state: np.ndarray,
        candidates: Candidates,
        q_values: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Returns the values `[B, N]` after the later rounds, which go to the better candidates."""
        rows = np.arange(len(state))[:, None]
        kept = np.broadcast_to(np.arange(q_values.shape[1]), q_values.shape)
        count = np.full(q_values.shape, float(self._schedule[0].num_rollouts))
        for halving_round in self._schedule[1:]:
            num_rollouts = halving_round.num_rollouts
            kept = keep_best(kept, q_values, halving_round.num_candidates)
            more, _ = self._roll_out(state, candidates, policy, generator, kept, num_rollouts)
            weight = num_rollouts / (count[rows, kept] + num_rollouts)
            q_values[rows, kept] += weight * (more - q_values[rows, kept])
            count[rows, kept] += num_rollouts
        return q_values

    def _roll_out(
        self,
        state: np.ndarray,
        candidates: Candidates,
        policy: SearchPolicy,
        generator: np.random.Generator,
        kept: np.ndarray | None = None,
        num_rollouts: int | None = None,
    ) -> tuple[np.ndarray, PolicyRollouts]:
        """Rolls out the candidates in `kept` `[B, k]` (all), as often as the first round if not told.

        Returns their mean returns `[B, k]` and the rollouts, state by state and candidate by candidate.
        """
        num_states, num_all, action_size = candidates.actions.shape
        if kept is None:
            kept = np.broadcast_to(np.arange(num_all), (num_states, num_all))
        num_rollouts = num_rollouts or self._schedule[0].num_rollouts
        rows = np.arange(num_states)[:, None]
        noise = held_noise(
            candidates.perturbations[rows, kept],
            candidates.is_perturbed[kept],
            generator,
            num_rollouts=num_rollouts,
            num_noisy_rollouts=self.config.num_noisy(num_rollouts),
            rollout_scale=self.config.rollout_scale,
            num_segments=-(-self.horizon_steps // self.hold_steps),
        )
        rollouts = roll_out_policy(
            self.simulator,
            np.repeat(state, kept.shape[1] * num_rollouts, axis=0),
            np.repeat(candidates.actions[rows, kept], num_rollouts, axis=1).reshape(-1, action_size),
            noise.reshape(-1, *noise.shape[3:]),
            policy,
            generator,
            num_steps=self.horizon_steps,
            hold_steps=self.hold_steps,
            discount=self.config.discount,
        )
        return rollouts.returns.reshape(*kept.shape, num_rollouts).mean(axis=2), rollouts

    def _draw_transitions(
        self,
        rollouts: PolicyRollouts,
        candidates: Candidates,
        policy_value: np.ndarray,
        generator: np.random.Generator,
    ) -> NStepTransitions:
        num_rollouts = self._schedule[0].num_rollouts
        first_step = np.where(candidates.is_perturbed, self.hold_steps, 1)
        first_step[0] = 0
        first_policy_step = np.repeat(first_step, num_rollouts).reshape(-1, num_rollouts)
        # Of the noisy rollouts none, of the others one: they repeat each other.
        first_policy_step[:, 1:] = self.horizon_steps
        return draw_transitions(
            rollouts,
            first_policy_step.reshape(-1),
            policy_value,
            self.config.num_transitions,
            self.config.discount,
            generator,
        )
