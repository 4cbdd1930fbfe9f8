"""How far learned distributions are from their targets: `R` members, `M` samples of each, action size `A`."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from distill_rl.diffusion.likelihood import log_density
from distill_rl.diffusion.samplers import DenoiseFn
from learners.laboratory.mixtures import TruncatedMixtures

_BANDWIDTHS = (0.02, 0.05, 0.1, 0.2, 0.5)


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """Computes `2 E|x - y| - E|x - x'| - E|y - y'|` over all pairs of samples.

    Pairs of a sample with itself are counted, so two samples of the same distribution are at
    `(E|x - x'| + E|y - y'|) / M` on average: report that floor beside it. Source: Szekely & Rizzo (2013),
    "Energy statistics".

    Args:
      x: samples. Shape `[R, M, A]`.
      y: samples. Shape `[R, M', A]`.

    Returns:
      Shape `[R]`.
    """
    return _pair_statistic(x, y, lambda squared: -squared.clamp_min(0.0).sqrt())


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Computes the squared maximum mean discrepancy, with the mean of five Gaussian kernels.

    Bandwidths run from 0.02 to 0.5, in action units; pairs of a sample with itself are counted, as in
    `energy_distance`. Source: Gretton et al. (2012), "A kernel two-sample test", Eq. (5).

    Args:
      x: samples. Shape `[R, M, A]`.
      y: samples. Shape `[R, M', A]`.

    Returns:
      Shape `[R]`.
    """

    def kernel(squared: Tensor) -> Tensor:
        total = torch.zeros_like(squared)
        for bandwidth in _BANDWIDTHS:
            total += (squared * (-0.5 / bandwidth**2)).exp_()
        return total / len(_BANDWIDTHS)

    return _pair_statistic(x, y, kernel)


def _pair_statistic(x: Tensor, y: Tensor, similarity_fn: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns the mean similarity within `x` and within `y`, less twice that between them. Shape `[R]`."""

    def mean(one: Tensor, two: Tensor) -> Tensor:
        return similarity_fn(torch.cdist(one, two).square()).mean(dim=(1, 2))

    # Row by row: a row of M x M' pairs at a time is what fits into the caches.
    rows = [
        mean(x[i : i + 1], x[i : i + 1])
        + mean(y[i : i + 1], y[i : i + 1])
        - 2.0 * mean(x[i : i + 1], y[i : i + 1])
        for i in range(len(x))
    ]
    return torch.cat(rows)


@dataclasses.dataclass(frozen=True)
class LogProbErrors:
    """True log-densities less a model's, in nats.

    Attributes:
      difference: at each action. Shape `[R, M]`.
    """

    difference: Tensor  # [R, M]

    @property
    def mse(self) -> Tensor:
        """Mean squared error. Shape `[R]`."""
        return self.difference.square().mean(dim=1)

    @property
    def mae(self) -> Tensor:
        """Mean absolute error. Shape `[R]`."""
        return self.difference.abs().mean(dim=1)

    @property
    def kl(self) -> Tensor:
        """Mean difference: KL(p*, model) where the actions are drawn from p*. Shape `[R]`."""
        return self.difference.mean(dim=1)

    def split(self, num_actions: int) -> list["LogProbErrors"]:
        """Returns the errors of each `num_actions` actions in a row."""
        return [LogProbErrors(part) for part in self.difference.split(num_actions, dim=1)]


def log_prob_errors(
    denoise_fn: DenoiseFn,
    target: TruncatedMixtures,
    actions: Tensor,
    *,
    sigma_min: float,
    sigma_max: float,
    num_steps: int = 64,
) -> LogProbErrors:
    """Compares the model's log-densities (its ODE's, exact divergence) with the target's at given actions.

    Args:
      denoise_fn: the model, `(x [R, M, A], sigma) -> [R, M, A]`.
      target: `R` targets.
      actions: shape `[R, M, A]`.
      sigma_min: noise level at which actions lie.
      sigma_max: noise level at which sampling starts.
      num_steps: of the ODE's solver.
    """
    shape = actions.shape

    def flat_denoise(x: Tensor, sigma: float) -> Tensor:
        return denoise_fn(x.reshape(shape), sigma).reshape(-1, shape[-1])

    with torch.no_grad():
        log_probs = log_density(
            flat_denoise,
            actions.reshape(-1, shape[-1]),
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            num_steps=num_steps,
        ).reshape(shape[:2])
    return LogProbErrors(target.log_prob(actions) - log_probs)


def score_mae(
    denoise_fn: DenoiseFn,
    target: TruncatedMixtures,
    actions: Tensor,
    sigmas: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Computes the mean absolute error of the score of the noised density.

    `|(D(x, sigma) - x) / sigma^2 - grad log p*_sigma(x)|`, averaged over coordinates, noise levels and
    actions noised by fresh noise.

    Args:
      denoise_fn: the model, `(x [R, M, A], sigma) -> [R, M, A]`.
      target: `R` targets.
      actions: samples of the target. Shape `[R, M, A]`.
      sigmas: noise levels. Shape `[L]`.
      generator: source of the noise.

    Returns:
      Shape `[R]`.
    """
    total = torch.zeros(len(actions), dtype=actions.dtype, device=actions.device)
    for sigma in sigmas.tolist():
        noise = torch.randn(actions.shape, generator=generator, dtype=actions.dtype, device=actions.device)
        x_sigma = actions + sigma * noise
        difference = denoise_fn(x_sigma, sigma) - target.denoise(x_sigma, sigma)
        total += difference.abs().mean(dim=(1, 2)) / sigma**2
    return total / len(sigmas)
