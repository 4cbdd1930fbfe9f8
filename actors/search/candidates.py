"""Candidate actions of a root, and the noise that is held over several steps of their rollouts.

Candidates are the zero-noise action of the policy, samples of the policy, and the zero-noise action plus
Gaussian perturbations. A perturbation of one step hardly moves a mechanical system; held over several steps
it does, which is why planners correlate their noise in time (Pinneri et al. 2020, "Sample-efficient
Cross-Entropy Method for Real-time Planning", https://arxiv.org/abs/2008.06389).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from distill_rl.policies.base import SearchPolicy


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Candidate first actions of `B` roots.

    Attributes:
      actions: in [-1, 1]. Shape `[B, N, A]`, float32.
      perturbations: what was added to the zero-noise action (before projection to [-1, 1]); zero for the
        policy's own candidates. Shape `[B, N, A]`, float32.
      is_perturbed: which candidates are perturbed, and not the policy's own. Shape `[N]`, bool.
    """

    actions: np.ndarray  # [B, N, A]
    perturbations: np.ndarray  # [B, N, A]
    is_perturbed: np.ndarray  # [N]

    @property
    def mode(self) -> np.ndarray:
        """The zero-noise action, which is the first candidate. Shape `[B, A]`."""
        return self.actions[:, 0]

    def with_perturbed(self, perturbations: np.ndarray) -> "Candidates":
        """Returns these candidates and the zero-noise action plus `perturbations` `[B, n, A]`."""
        actions = np.clip(self.mode[:, None] + perturbations, -1.0, 1.0)
        return Candidates(
            np.concatenate([self.actions, actions], axis=1),
            np.concatenate([self.perturbations, perturbations], axis=1),
            np.append(self.is_perturbed, np.ones(perturbations.shape[1], bool)),
        )


def propose_candidates(
    policy: SearchPolicy,
    observation: np.ndarray,
    generator: np.random.Generator,
    *,
    num_candidates: int,
    num_perturbed: int,
    perturbation_scales: Sequence[float],
) -> Candidates:
    """Proposes candidates: the zero-noise action, samples of the policy, perturbed zero-noise actions.

    The zero-noise action is always the first one: the rollouts follow the zero-noise policy, so that its
    estimate is the value of what they follow, and the best candidate is never below it.

    Args:
      policy: the policy to sample.
      observation: shape `[B, O]`.
      generator: source of every random draw.
      num_candidates: `N`.
      num_perturbed: how many of them are perturbed, below `N`; they stand last.
      perturbation_scales: standard deviations; perturbed candidates take them in turn.

    Returns:
      The candidates.

    Raises:
      ValueError: if `num_perturbed` is not within 0 to `num_candidates - 1`.
    """
    if not 0 <= num_perturbed < num_candidates:
        raise ValueError(f"`num_perturbed` must be within 0 to {num_candidates - 1}, got {num_perturbed}")
    num_samples = num_candidates - num_perturbed - 1
    mode = policy.act(observation, 0.0, generator)
    num_states, action_size = mode.shape
    actions = np.repeat(mode[:, None], 1 + num_samples, axis=1)
    if num_samples:
        samples = policy.act(np.repeat(observation, num_samples, axis=0), 1.0, generator)
        actions[:, 1:] = samples.reshape(num_states, num_samples, action_size)
    own = Candidates(actions, np.zeros_like(actions), np.zeros(1 + num_samples, bool))
    scales = np.resize(np.asarray(perturbation_scales, np.float32), num_perturbed)
    noise = generator.standard_normal((num_states, num_perturbed, action_size), np.float32)
    return own.with_perturbed(noise * scales[:, None])


def held_noise(
    perturbations: np.ndarray,
    is_perturbed: np.ndarray,
    generator: np.random.Generator,
    *,
    num_rollouts: int,
    num_noisy_rollouts: int,
    rollout_scale: float,
    num_segments: int,
) -> np.ndarray:
    """Draws the noise added to the zero-noise policy along rollouts, constant within each segment.

    A perturbed candidate holds its own perturbation over the first segment. The last `num_noisy_rollouts` of
    every candidate's rollouts are noisy over all other segments. Else rollouts follow the zero-noise policy.

    Args:
      perturbations: perturbations of the candidates. Shape `[B, k, A]`.
      is_perturbed: which of them are perturbed. Shape `[B, k]`, bool.
      generator: source of the noise.
      num_rollouts: `R`, rollouts of each candidate.
      num_noisy_rollouts: how many of them are noisy.
      rollout_scale: standard deviation of their noise.
      num_segments: `G`, segments of the horizon.

    Returns:
      Shape `[B, k, R, G, A]`, float32; one segment where all further ones are zero.
    """
    num_segments = num_segments if num_noisy_rollouts else 1
    num_states, num_candidates, action_size = perturbations.shape
    noise = np.zeros((num_states, num_candidates, num_rollouts, num_segments, action_size), np.float32)
    if num_noisy_rollouts:
        noisy = noise[:, :, num_rollouts - num_noisy_rollouts :]
        noisy += rollout_scale * generator.standard_normal(noisy.shape, np.float32)
        # The first segment of a perturbed candidate is its perturbation, and nothing else.
        noisy[:, :, :, 0] *= ~is_perturbed[:, :, None, None]
    noise[:, :, :, 0] += perturbations[:, :, None]
    return noise
