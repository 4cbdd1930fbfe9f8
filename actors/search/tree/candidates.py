"""Which actions a node of a tree offers, and their prior."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from actors.search.proposals import (
    mixture_log_prob,
    tanh_normal_log_prob,
    tanh_normal_sample,
    truncated_normal_log_prob,
    truncated_normal_sample,
)
from distill_rl.checks import check_choice
from distill_rl.policies.base import SearchPolicy

CandidatesFn = Callable[[SearchPolicy, np.ndarray, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""`(policy, observation [M, O], K, generator) -> actions [M, K, A], prior logits [M, K]`."""

Bound = Literal["truncated", "tanh"]

BOUNDS: tuple[str, ...] = get_args(Bound)


def policy_candidates(
    policy: SearchPolicy, observation: np.ndarray, num_actions: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Offers the zero-noise action, then samples of the policy, all equally probable.

    With distinct samples of the policy itself the prior `(beta_hat / beta) pi` is uniform. Source: Hubert et
    al. (2021), "Learning and planning in complex action spaces", Section 4.2.

    Args:
      policy: the policy to sample.
      observation: shape `[M, O]`.
      num_actions: `K`.
      generator: source of the noise.

    Returns:
      Actions `[M, K, A]` and prior logits `[M, K]`.
    """
    actions = policy.act(observation, 0.0, generator)[:, None]
    if num_actions > 1:
        samples = _policy_samples(policy, observation, num_actions - 1, generator)
        actions = np.concatenate([actions, samples], axis=1)
    return actions, np.zeros(actions.shape[:2])


def tempered_candidates(
    policy: SearchPolicy,
    observation: np.ndarray,
    num_actions: int,
    generator: np.random.Generator,
    *,
    num_centres: int = 16,
    scale: float = 0.1,
    temperature: float = 9.0,
    tempered_fraction: float = 0.75,
    bound: Bound = "truncated",
) -> tuple[np.ndarray, np.ndarray]:
    """Offers actions drawn more widely than the policy's, with the prior that makes up for it.

    A one-step policy has no density, so a mixture of kernels about its samples stands for it,
    `pi(a) = mean_m k(a; a_m, scale)`. Candidates come from
    `beta = (1 - f) pi + f mean_m k(a; a_m, scale sqrt(temperature))`, and their prior is `pi / beta`, with
    both densities exact: without it, or with the mean of log-densities in place of the log of the mixture,
    the search improves on another policy, however many candidates it has. Source: Hubert et al. (2021),
    Section 4.2 (beta correction) and Appendix A (tempered proposals).

    Args:
      policy: the policy to sample.
      observation: shape `[M, O]`.
      num_actions: `K`.
      generator: source of every draw.
      num_centres: samples of the policy that carry the kernels.
      scale: of the kernels of pi.
      temperature: at least 1, by which the variance of the wider kernels is larger.
      tempered_fraction: `f`, share of the wider kernels.
      bound: whether kernels are truncated or squashed normal distributions.

    Returns:
      Actions `[M, K, A]` and prior logits `[M, K]`.

    Raises:
      ValueError: if the bound is unknown.
    """
    check_choice("bound", bound, BOUNDS)
    sample_fn, log_prob_fn = _KERNELS[bound]
    centres = _policy_samples(policy, observation, num_centres, generator).astype(np.float64)
    shape = (len(observation), num_actions)
    chosen = generator.integers(num_centres, size=shape)
    wide_scale = scale * np.sqrt(temperature)
    scales = np.where(generator.random(shape) < tempered_fraction, wide_scale, scale)[..., None]
    actions = sample_fn(np.take_along_axis(centres, chosen[..., None], axis=1), scales, generator)
    actions = actions.astype(np.float32)
    per_centre = np.full(num_centres, -np.log(num_centres))

    def log_density(kernel_scale: float) -> np.ndarray:
        kernel = np.array(kernel_scale)
        log_probs = log_prob_fn(actions[:, :, None].astype(np.float64), centres[:, None], kernel)
        return mixture_log_prob(log_probs, per_centre)

    log_policy = log_density(scale)
    with np.errstate(divide="ignore"):
        shares = np.log([1.0 - tempered_fraction, tempered_fraction])
    log_proposal = mixture_log_prob(np.stack([log_policy, log_density(wide_scale)], axis=-1), shares)
    return actions, log_policy - log_proposal


_KERNELS = {
    "truncated": (truncated_normal_sample, truncated_normal_log_prob),
    "tanh": (tanh_normal_sample, tanh_normal_log_prob),
}


def _policy_samples(
    policy: SearchPolicy, observation: np.ndarray, num_samples: int, generator: np.random.Generator
) -> np.ndarray:
    """Returns samples of the policy. Shape `[M, num_samples, A]`."""
    samples = policy.act(np.repeat(observation, num_samples, axis=0), 1.0, generator)
    return samples.reshape(len(observation), num_samples, samples.shape[-1])
