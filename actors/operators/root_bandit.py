"""The root bandit: candidate actions compared by rollouts that follow the policy."""

import dataclasses

import numpy as np

from actors.operators.config import RootBanditConfig
from actors.search.candidates import Candidates, held_noise, propose_candidates
from actors.search.halving import HalvingRound, halving_schedule, keep_best
from actors.search.rollouts import rollout_returns
from actors.search.temperature import (
    boltzmann_log_weights,
    effective_sample_size,
    kl_divergence,
    solve_temperature,
)
from actors.simulators.base import Simulator
from distill_rl.checks import check_shape
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet


@dataclasses.dataclass(frozen=True)
class SearchDiagnostics:
    """What one search did, averaged over its states.

    Attributes:
      kl: divergence of the improved policy from the uniform prior over candidates, in nats.
      effective_sample_size: of the improved policy, 1 to N.
      temperature: median over the states, in reward units.
      improvement: value of the improved policy less the policy's own.
      perturbed_mass: mass of the improved policy on perturbed candidates.
      diverged_fraction: share of candidates whose simulation diverged.
      simulator_steps: control steps simulated, in total.
    """

    kl: float
    effective_sample_size: float
    temperature: float
    improvement: float
    perturbed_mass: float
    diverged_fraction: float
    simulator_steps: int


class RootBandit:
    """An `ImprovementOperator` without a tree: a bandit over first actions.

    Each candidate's value is the mean return of rollouts that take it, follow the zero-noise policy and end
    in the policy's value function. The improved policy is `softmax(Q / eta)` over the candidates, with eta
    set for each state by a target divergence from the uniform prior.

    Candidates that diverge get no mass. A state without any sound candidate, or without a sound one of the
    policy's own, is marked by NaN in `value` and `policy_value`; whoever called the search drops it.
    """

    def __init__(self, simulator: Simulator, config: RootBanditConfig | None = None):
        """Builds the operator.

        Args:
          simulator: model of the environment.
          config: settings.

        Raises:
          ValueError: if the settings are in seconds and the simulator does not know how long a step takes.
        """
        self.simulator = simulator
        self.config = config or RootBanditConfig()
        self.horizon_steps, self.hold_steps = self.config.resolve_steps(simulator.control_timestep_sec)
        self.last_search: SearchDiagnostics | None = None
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

        `value` is `sum_k p*_k Q_k`. `policy_value` is the mean value of the policy's own candidates in the
        first round (where all have the same rollouts) over rollouts without noise: what the policy itself is
        worth, with no credit for the search.

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
            num_candidates=self.config.num_candidates,
            num_perturbed=self.config.num_perturbed,
            perturbation_scales=self.config.perturbation_scales,
        )
        q_values, policy_value = self._estimate(state, candidates, policy, generator)
        temperature = solve_temperature(q_values, self.config.target_kl)
        log_probs = boltzmann_log_weights(q_values, temperature)
        value = _expectation(log_probs, q_values)
        value = np.where(np.isnan(policy_value), np.nan, value)
        self.last_search = SearchDiagnostics(
            kl=float(kl_divergence(log_probs).mean()),
            effective_sample_size=float(effective_sample_size(log_probs).mean()),
            temperature=float(np.median(temperature)),
            improvement=_nanmean(value - policy_value),
            perturbed_mass=float(np.exp(log_probs[:, candidates.is_perturbed]).sum(axis=1).mean()),
            diverged_fraction=float(np.isnan(q_values).mean()),
            simulator_steps=self.simulator.num_steps - first_simulator_step,
        )
        return ReferenceSet(
            observation=observation,
            actions=candidates.actions,
            log_probs=log_probs.astype(np.float32),
            log_proposals=np.zeros(log_probs.shape, np.float32),
            value=value.astype(np.float32),
            policy_value=policy_value.astype(np.float32),
            policy_version=policy_version,
        )

    def _estimate(
        self,
        state: np.ndarray,
        candidates: Candidates,
        policy: SearchPolicy,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the values of the candidates `[B, N]` and of the policy `[B]`."""
        num_states, num_candidates, _ = candidates.actions.shape
        rows = np.arange(num_states)[:, None]
        kept = np.broadcast_to(np.arange(num_candidates), (num_states, num_candidates))
        total = np.zeros((num_states, num_candidates))
        count = np.zeros((num_states, num_candidates))
        policy_value = np.empty(num_states)
        for index, halving_round in enumerate(self._schedule):
            if index > 0:
                kept = keep_best(kept, total / count, halving_round.num_candidates)
            returns = self._run_round(halving_round, kept, state, candidates, policy, generator)
            if index == 0:
                num_quiet = halving_round.num_rollouts - self.config.num_noisy(halving_round.num_rollouts)
                own = returns[:, ~candidates.is_perturbed, :num_quiet].mean(axis=2)
                policy_value = _mean_of_finite(own)
            total[rows, kept] += returns.sum(axis=2)
            count[rows, kept] += halving_round.num_rollouts
        return total / count, policy_value

    def _run_round(
        self,
        halving_round: HalvingRound,
        kept: np.ndarray,
        state: np.ndarray,
        candidates: Candidates,
        policy: SearchPolicy,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Rolls out the candidates in `kept` `[B, k]`; returns their returns `[B, k, R]`."""
        num_states, num_kept = kept.shape
        num_rollouts = halving_round.num_rollouts
        rows = np.arange(num_states)[:, None]
        noise = held_noise(
            candidates.perturbations[rows, kept],
            candidates.scales[kept],
            generator,
            num_rollouts=num_rollouts,
            num_noisy_rollouts=self.config.num_noisy(num_rollouts),
            rollout_scale=self.config.rollout_scale,
            num_holds=self.config.num_holds,
            num_segments=-(-self.horizon_steps // self.hold_steps),
        )
        first_action = np.repeat(candidates.actions[rows, kept], num_rollouts, axis=1)
        returns = rollout_returns(
            self.simulator,
            np.repeat(state, num_kept * num_rollouts, axis=0),
            first_action.reshape(-1, first_action.shape[-1]),
            noise.reshape(-1, *noise.shape[3:]),
            policy,
            generator,
            num_steps=self.horizon_steps,
            hold_steps=self.hold_steps,
            discount=self.config.discount,
        )
        return returns.reshape(num_states, num_kept, num_rollouts)


def _expectation(log_probs: np.ndarray, q_values: np.ndarray) -> np.ndarray:
    """Returns `sum_k p_k Q_k` over the candidates with mass; NaN where that includes a NaN. Shape `[B]`."""
    probs = np.exp(log_probs)
    return np.where(probs > 0.0, probs * q_values, 0.0).sum(axis=1)


def _mean_of_finite(values: np.ndarray) -> np.ndarray:
    """Returns the mean of the finite values of each row; NaN where there are none. Shape `[B]`."""
    is_finite = np.isfinite(values)
    count = is_finite.sum(axis=1)
    total = np.where(is_finite, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _nanmean(values: np.ndarray) -> float:
    """Returns the mean of the finite values; NaN if there are none."""
    return float(_mean_of_finite(values[None])[0])
