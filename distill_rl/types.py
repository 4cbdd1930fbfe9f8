"""The data contract between sources of reference sets and learners.

Shape letters used throughout the project: `B` batch of states, `N` candidate actions, `A` action size,
`O` observation size, `H` steps of a rollout, `M` trajectories simulated together, `S` simulator state size,
`K` noise levels. `[...]` stands for any leading dimensions.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from distill_rl.checks import check_finite, check_floating, check_shape

Array = Any
"""A numpy array (at the actor) or a torch tensor (at the learner)."""

Convention = Literal["mass", "density"]

_MASS_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class NStepTransitions:
    """Stretches of simulated trajectories along which the policy itself acted.

    They are the data of its value function: `V(observation) ~ reward + discount * V(next_observation)`, with
    a value of `next_observation` that is as new as the learner's own. The first stretch of each state starts
    at the state itself.

    Attributes:
      observation: first states. Shape `[B, T, O]`, float32.
      reward: discounted sum of the rewards along the stretch. Shape `[B, T]`, float32.
      discount: `discount^n` of a stretch of `n` steps; 0 where it ended in a termination. Shape `[B, T]`.
      next_observation: last states. Shape `[B, T, O]`, float32.
    """

    observation: Array  # [B, T, O]
    reward: Array  # [B, T]
    discount: Array  # [B, T]
    next_observation: Array  # [B, T, O]


@dataclasses.dataclass(frozen=True)
class EpisodeSteps:
    """The last steps that were really taken, up to the one from the state itself: data of a learned model.

    Where an episode has had fewer than `H` steps the rest follows after them, not valid.

    Attributes:
      observation: before and after each step. Shape `[B, H + 1, O]`, float32.
      action: in [-1, 1]. Shape `[B, H, A]`, float32.
      reward: shape `[B, H]`, float32.
      discount: 0 where the step terminated the episode, else 1. Shape `[B, H]`, float32.
      is_valid: 1 where there is a step, else 0. Shape `[B, H]`, float32.
    """

    observation: Array  # [B, H + 1, O]
    action: Array  # [B, H, A]
    reward: Array  # [B, H]
    discount: Array  # [B, H]
    is_valid: Array  # [B, H]


_PARTS: dict[str, type] = {"transitions": NStepTransitions, "episode_steps": EpisodeSteps}


@dataclasses.dataclass(frozen=True)
class ReferenceSet:
    """Candidate actions of a batch of states, with their log-probabilities under an improved policy.

    The importance weight of a candidate is `exp(log_probs - log_proposals)` in both conventions:

    * `mass`: `log_probs` is a distribution over the `N` candidates (sums to one) and `log_proposals` is zero;
      this is what a search returns.
    * `density`: `log_probs` is a log-density and `log_proposals` the log-density the candidates were drawn
      from.

    Attributes:
      observation: states the sets belong to. Shape `[B, O]`, float32.
      actions: candidates, normalised to [-1, 1]. Shape `[B, N, A]`, float32.
      log_probs: log p*(a_i | s) under the improved policy; `-inf` marks a candidate of no mass. Shape
        `[B, N]`.
      log_proposals: log q(a_i | s) the candidates were drawn from. Shape `[B, N]`.
      value: value of the improved policy, in (discounted) reward units. Shape `[B]`.
      policy_value: value of the policy that proposed, the target of its value function where there are no
        `transitions`. Shape `[B]`.
      policy_version: version of the weights that proposed.
      convention: which of the two conventions holds.
      transitions: where the policy went when it was simulated from these states, `T` stretches each.
      episode_steps: what was really done up to these states, and in them.
    """

    observation: Array  # [B, O]
    actions: Array  # [B, N, A]
    log_probs: Array  # [B, N]
    log_proposals: Array  # [B, N]
    value: Array  # [B]
    policy_value: Array  # [B]
    policy_version: int
    convention: Convention = "mass"
    transitions: NStepTransitions | None = None
    episode_steps: EpisodeSteps | None = None

    def __len__(self) -> int:
        """Returns the number of states `B`."""
        return int(self.observation.shape[0])

    def to_arrays(self) -> dict[str, Array]:
        """Returns every array by its name; those of the transitions as `transitions/reward` and so on."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        for part in _PARTS:
            held = getattr(self, part)
            if held is not None:
                for field in dataclasses.fields(held):
                    arrays[f"{part}/{field.name}"] = getattr(held, field.name)
        return arrays

    @staticmethod
    def from_arrays(
        arrays: Mapping[str, Array], policy_version: int, convention: Convention = "mass"
    ) -> "ReferenceSet":
        """Builds a set from what `to_arrays` returned."""
        parts: dict[str, Any] = {}
        for part, part_type in _PARTS.items():
            prefix = f"{part}/"
            inner = {n.removeprefix(prefix): arrays[n] for n in arrays if n.startswith(prefix)}
            parts[part] = part_type(**inner) if inner else None
        return ReferenceSet(
            **{name: arrays[name] for name in _ARRAYS},
            policy_version=policy_version,
            convention=convention,
            **parts,
        )

    def map_arrays(self, function: Callable[[Array], Array]) -> "ReferenceSet":
        """Returns a set with `function` applied to every array."""
        arrays = {name: function(array) for name, array in self.to_arrays().items()}
        return ReferenceSet.from_arrays(arrays, self.policy_version, self.convention)

    def validate(self) -> "ReferenceSet":
        """Checks shapes, dtypes, ranges and normalisation, and returns the set itself.

        Raises:
          ValueError: naming the field, what was expected and what came.
        """
        validate_reference_set(self)
        return self


_ARRAYS = ("observation", "actions", "log_probs", "log_proposals", "value", "policy_value")


def validate_reference_set(reference_set: ReferenceSet) -> None:
    """Checks that a reference set keeps the contract of `ReferenceSet`.

    Args:
      reference_set: the set, of numpy arrays or torch tensors.

    Raises:
      ValueError: if a field has the wrong rank, length or dtype, holds NaN, an action lies outside [-1, 1],
        or `log_probs` do not sum to one in the mass convention.
    """
    r = reference_set
    if len(getattr(r.actions, "shape", ())) != 3:
        raise ValueError(f"`actions` must have shape [B, N, A], got {list(getattr(r.actions, 'shape', ()))}")
    num_states, num_candidates, _ = r.actions.shape
    check_shape("observation", r.observation, (num_states, None))
    check_shape("log_probs", r.log_probs, (num_states, num_candidates))
    check_shape("log_proposals", r.log_proposals, (num_states, num_candidates))
    check_shape("value", r.value, (num_states,))
    check_shape("policy_value", r.policy_value, (num_states,))
    if r.transitions is not None:
        _check_transitions(r.transitions, r.observation.shape)
    if r.episode_steps is not None:
        _check_episode_steps(r.episode_steps, r.observation.shape, r.actions.shape[2])
    for name, array in r.to_arrays().items():
        check_floating(name, array)
        if name not in ("actions", "log_probs"):
            check_finite(name, array)
    _check_log_probs(r)
    largest = float(max(r.actions.max(), -r.actions.min())) if num_states else 0.0
    if not largest <= 1.0 + 1e-6:  # nor for NaN
        check_finite("actions", r.actions)
        raise ValueError(f"`actions` must lie in [-1, 1], got a component of magnitude {largest:.6g}")
    if isinstance(r.policy_version, bool) or not isinstance(r.policy_version, (int, np.integer)):
        raise ValueError(f"`policy_version` must be an integer, got {r.policy_version!r}")


def _check_transitions(transitions: NStepTransitions, observation_shape: tuple[int, int]) -> None:
    num_states, observation_size = observation_shape
    check_shape("transitions/observation", transitions.observation, (num_states, None, observation_size))
    stretches = tuple(transitions.observation.shape[:2])
    check_shape("transitions/reward", transitions.reward, stretches)
    check_shape("transitions/discount", transitions.discount, stretches)
    check_shape("transitions/next_observation", transitions.next_observation, (*stretches, observation_size))


def _check_episode_steps(steps: EpisodeSteps, observation_shape: tuple[int, int], action_size: int) -> None:
    num_states, observation_size = observation_shape
    check_shape("episode_steps/reward", steps.reward, (num_states, None))
    length = int(steps.reward.shape[1])
    check_shape("episode_steps/observation", steps.observation, (num_states, length + 1, observation_size))
    check_shape("episode_steps/action", steps.action, (num_states, length, action_size))
    check_shape("episode_steps/discount", steps.discount, (num_states, length))
    check_shape("episode_steps/is_valid", steps.is_valid, (num_states, length))


def _check_log_probs(reference_set: ReferenceSet) -> None:
    log_probs = np.asarray(reference_set.log_probs)
    if log_probs.dtype == np.float16:  # too coarse for sums
        log_probs = log_probs.astype(np.float32)
    if not (log_probs < np.inf).all():  # nor is NaN
        raise ValueError("`log_probs` must be finite or -inf, got NaN or +inf")
    if reference_set.convention == "density":
        return
    if reference_set.convention != "mass":
        raise ValueError(f"`convention` must be 'mass' or 'density', got {reference_set.convention!r}")
    with np.errstate(over="ignore"):  # infinite masses do not sum to one either
        # A sum over the last axis by another name, at a quarter of its time where that axis is short.
        total = np.exp(log_probs) @ np.ones(log_probs.shape[-1], log_probs.dtype)
    if total.size and np.abs(total - 1.0).max() > _MASS_TOLERANCE:
        worst = int(np.abs(total - 1.0).argmax())
        raise ValueError(
            f"`log_probs` must sum to one over the candidates in the mass convention, "
            f"got a total of {total[worst]:.6g} at state {worst}"
        )
    if np.asarray(reference_set.log_proposals).any():
        raise ValueError("`log_proposals` must be zero in the mass convention, got non-zero values")
