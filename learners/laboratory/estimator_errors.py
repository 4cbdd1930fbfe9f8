"""Bias and variance of the posterior estimators, against the exact posterior mean."""

from typing import NamedTuple

import torch
from torch import Tensor

from learners.density_posterior import make_posterior
from learners.laboratory.mixtures import TruncatedMixtures
from learners.posterior import NoisyReference, log_effective_sample_size


class EstimatorErrors(NamedTuple):
    """Errors of an estimator of `E[x | x_sigma]`, squared and summed over coordinates; one for each target.

    Attributes:
      squared_bias: of its mean over reference sets. Shape `[I]`.
      variance: over reference sets. Shape `[I]`.
      effective_sample_size: of the weights with the kernel, 1 to N. Shape `[I]`.
    """

    squared_bias: Tensor
    variance: Tensor
    effective_sample_size: Tensor

    @property
    def mse(self) -> Tensor:
        """Mean squared error. Shape `[I]`."""
        return self.squared_bias + self.variance


def estimator_errors(
    name: str,
    targets: TruncatedMixtures,
    *,
    sigma: float,
    num_candidates: int,
    num_points: int,
    num_sets: int,
    generator: torch.Generator,
) -> EstimatorErrors:
    """Estimates posterior means at fixed noisy actions from many reference sets, drawn from p* itself.

    The sources of the noisy actions are not in the sets. Estimators that use the source (`single_sample`,
    `control_variate`) get a draw from the posterior for each set, as training gives them.

    Args:
      name: of the estimator.
      targets: `I` targets, in [0, 1].
      sigma: noise level.
      num_candidates: `N` of each set.
      num_points: noisy actions of each target.
      num_sets: reference sets.
      generator: source of the draws.

    Returns:
      The errors. The squared bias is free of the share of the variance that is left in the mean.

    Raises:
      ValueError: if the estimator is unknown.
    """
    clean = targets.sample(num_points, generator)
    sigma_data = float(clean.std(dim=1).mean())
    posterior = make_posterior(name, targets, low=0.0, high=1.0, sigma_data=sigma_data)
    x_sigma = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    levels = torch.full(clean.shape[:2], sigma, dtype=clean.dtype)
    exact = targets.denoise(x_sigma, sigma)
    total, total_squared = torch.zeros_like(exact), torch.zeros_like(exact)
    sizes = torch.zeros(len(clean), dtype=clean.dtype)
    for _ in range(num_sets):
        actions = targets.sample(num_candidates, generator)
        log_probs = targets.log_prob(actions)
        source = _draw_posterior(targets, x_sigma, sigma, generator)
        noisy = NoisyReference(actions, log_probs, log_probs, x_sigma, levels, source, generator)
        error = posterior(noisy) - exact
        total += error
        total_squared += error.square()
        log_weights = noisy.weights(noisy.log_probs - noisy.log_proposals).log()
        sizes += log_effective_sample_size(log_weights).exp().mean(dim=1)
    mean = total / num_sets
    variance = (total_squared - num_sets * mean.square()) / max(1, num_sets - 1)
    squared_bias = mean.square() - variance / num_sets
    return EstimatorErrors(
        squared_bias=squared_bias.sum(dim=-1).mean(dim=1),
        variance=variance.sum(dim=-1).mean(dim=1),
        effective_sample_size=sizes / num_sets,
    )


def _draw_posterior(
    targets: TruncatedMixtures, x_sigma: Tensor, sigma: float, generator: torch.Generator
) -> Tensor:
    """Draws one action for each noisy one, from its posterior. Shape `[I, M, A]`."""
    flat = x_sigma.flatten(0, 1)
    rows = torch.arange(len(flat)) // x_sigma.shape[1]
    return targets[rows].posterior(flat, sigma).sample(1, generator).reshape(x_sigma.shape)
