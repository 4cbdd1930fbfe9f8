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
      scales: standard deviation of the perturbation; zero for the policy's own candidates. Shape `[N]`.
    """

    actions: np.ndarray  # [B, N, A]
    perturbations: np.ndarray  # [B, N, A]
    scales: np.ndarray  # [N]

    @property
    def is_perturbed(self) -> np.ndarray:
        """Which candidates are perturbed, and not the policy's own. Shape `[N]`, bool."""
        return self.scales > 0.0


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
    scales = np.zeros(num_candidates, np.float32)
    scales[num_samples + 1 :] = np.resize(np.asarray(perturbation_scales, np.float32), num_perturbed)
    actions = np.repeat(mode[:, None], num_candidates, axis=1)
    if num_samples:
        samples = policy.act(np.repeat(observation, num_samples, axis=0), 1.0, generator)
        actions[:, 1 : num_samples + 1] = samples.reshape(num_states, num_samples, action_size)
    noise = generator.standard_normal((num_states, num_perturbed, action_size), np.float32)
    perturbations = np.zeros_like(actions)
    perturbations[:, num_samples + 1 :] = noise * scales[num_samples + 1 :, None]
    return Candidates(np.clip(actions + perturbations, -1.0, 1.0), perturbations, scales)


def held_noise(
    perturbations: np.ndarray,
    scales: np.ndarray,
    generator: np.random.Generator,
    *,
    num_rollouts: int,
    num_noisy_rollouts: int,
    rollout_scale: float,
    num_holds: int,
    num_segments: int,
) -> np.ndarray:
    """Draws the noise added to the zero-noise policy along rollouts, constant within each segment.

    A perturbed candidate holds its own perturbation over the first segment, and draws of the same scale over
    the next `num_holds - 1`. The last `num_noisy_rollouts` of every candidate's rollouts are noisy over the
    whole horizon. The others follow the zero-noise policy.

    Args:
      perturbations: perturbations of the candidates. Shape `[B, k, A]`.
      scales: their standard deviations; zero for the policy's own candidates. Shape `[B, k]`.
      generator: source of the noise.
      num_rollouts: `R`, rollouts of each candidate.
      num_noisy_rollouts: how many of them are noisy over the whole horizon.
      rollout_scale: standard deviation of their noise.
      num_holds: segments over which perturbed candidates stay perturbed, at least 1.
      num_segments: `G`, segments of the horizon.

    Returns:
      Shape `[B, k, R, G, A]`, float32; fewer segments where all further ones are zero.
    """
    num_segments = num_segments if num_noisy_rollouts else min(num_holds, num_segments)
    shape = (*scales.shape, num_rollouts, num_segments)
    scale = np.zeros(shape, np.float32)
    scale[..., 1:num_holds] = scales[..., None, None]
    noisy = slice(num_rollouts - num_noisy_rollouts, None)
    scale[:, :, noisy, 1:] = rollout_scale
    # The first segment of a perturbed candidate is its perturbation, and nothing else.
    scale[:, :, noisy, 0] = np.where(scales > 0.0, 0.0, rollout_scale)[..., None]
    noise = np.zeros((*shape, perturbations.shape[-1]), np.float32)
    if scale.any():
        noise += scale[..., None] * generator.standard_normal(noise.shape, np.float32)
    noise[:, :, :, 0] += perturbations[:, :, None]
    return noise
