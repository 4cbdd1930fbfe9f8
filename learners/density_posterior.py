"""Posterior estimators that may call the target's density, or its gradient, wherever they like.

Beside the candidates of `learners.posterior` they need a `TargetDensity`: a critic's `Q / eta`, a known
policy, an experiment's target. Each factory returns a `Posterior`, to be used like the others.

Shapes: `B` states, `N` candidates, `A` action size, `K` noises of a state.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from distill_rl.checks import check_choice
from learners.posterior import POSTERIORS, NoisyReference, Posterior

_RIDGE = 0.1
"""Over the effective sample size, in units of the controls; anything from 0.01 to 0.3 does about as well."""

_LOG_2_PI = math.log(2.0 * math.pi)


class TargetDensity(Protocol):
    """The improved policy p* as a function of the action."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log p*, normalised. Shapes `[B, M, A]` to `[B, M]`."""
        ...

    def score(self, actions: Tensor) -> Tensor:
        """Returns the gradient of log p*. Shapes `[B, M, A]` to `[B, M, A]`."""
        ...


def make_stein(target: TargetDensity, low: float = -1.0, high: float = 1.0) -> Posterior:
    """Returns `proposal_corrected` with its noise regressed away on functions whose mean is known to be zero.

    For any `b` that vanishes at the ends of the box, Stein's identity for the posterior with score
    `s(x) = grad log p*(x) + (x_sigma - x) / sigma^2` says `E[b(x) s(x) + b'(x)] = 0`, coordinate by
    coordinate; here `b(x) = (x - low) (high - x)`. The estimate is the intercept of the weighted least
    squares of the candidates on these functions. (Without `b` the identity fails wherever p* is not zero at
    the ends.) The ridge grows as the effective sample size falls.

    Source: Mira et al. (2013), "Zero variance Markov chain Monte Carlo for Bayesian estimators"; with
    self-normalised weights, South et al. (2022), "Semi-exact control functionals from Sard's method".

    Args:
      target: p*; its gradient is used at the candidates.
      low: lower end of the action range.
      high: upper end.
    """

    def stein(noisy: NoisyReference) -> Tensor:
        actions, x_sigma = noisy.actions, noisy.x_sigma
        weights = noisy.weights(noisy.log_probs - noisy.log_proposals)  # [B, K, N]
        points = actions[:, None]  # [B, 1, N, A]
        variance = noisy.sigma[..., None, None].square()
        posterior_score = target.score(actions)[:, None] + (x_sigma[:, :, None] - points) / variance
        bump, slope = (points - low) * (high - points), low + high - 2.0 * points
        controls = bump * posterior_score + slope  # [B, K, N, A]
        mean = torch.einsum("bkn,bna->bka", weights, actions)
        control_mean = torch.einsum("bkn,bkna->bka", weights, controls)
        centred = controls - control_mean[:, :, None]
        weighted = weights[..., None] * centred
        moments = weighted.transpose(-1, -2) @ centred  # [B, K, A, A]
        cross = weighted.transpose(-1, -2) @ (points - mean[:, :, None])  # [B, K, A, A]
        size = actions.shape[-1]
        spread = moments.diagonal(dim1=-2, dim2=-1).mean(dim=-1) + torch.finfo(actions.dtype).tiny ** 0.5
        ridge = _RIDGE * spread * weights.square().sum(dim=-1)
        identity = torch.eye(size, dtype=actions.dtype, device=actions.device)
        slopes = torch.linalg.solve(moments + ridge[..., None, None] * identity, cross)
        return (mean - torch.einsum("bka,bkac->bkc", control_mean, slopes)).clamp(low, high)

    return stein


def make_defensive_mixture(target: TargetDensity, low: float = -1.0, high: float = 1.0) -> Posterior:
    """Returns importance sampling from two proposals at once: the candidates, and draws around `x_sigma`.

    To the `N` candidates come `N` fresh draws of `N(x_sigma, sigma^2)` truncated to the box, and all are
    weighted by `p*(x) N(x_sigma; x, sigma^2) / (q(x) + r(x))`, with `r` the density of the fresh draws (the
    balance heuristic). Draws around `x_sigma` serve small noise levels, candidates large ones, and the
    mixture is never far off. The density of the candidates' own proposal must be known at the fresh draws: it
    is taken to be p* itself, as where references are drawn from p*.

    Source: Owen & Zhou (2000), "Safe and effective importance sampling"; Veach & Guibas (1995), "Optimally
    combining sampling techniques for Monte Carlo rendering". For denoisers, Akhound-Sadegh et al. (2024),
    "Iterated denoising energy matching", https://arxiv.org/abs/2402.06121, has the fresh draws alone.

    Args:
      target: p*, called at the fresh draws.
      low: lower end of the action range.
      high: upper end.

    Returns:
      The estimator. It raises a `ValueError` if `log_proposals` are not `log_probs`.
    """

    def defensive_mixture(noisy: NoisyReference) -> Tensor:
        if not torch.equal(noisy.log_probs, noisy.log_proposals):
            raise ValueError(
                "`log_proposals` must equal log_probs for `defensive_mixture`: it takes candidates drawn "
                "from p* itself, since it needs the density of their proposal at other actions too"
            )
        actions, x_sigma = noisy.actions, noisy.x_sigma
        num_states, num_candidates, size = actions.shape
        level = noisy.sigma[..., None, None]  # [B, K, 1, 1]
        centre = x_sigma[:, :, None]
        start, end = torch.special.ndtr((low - centre) / level), torch.special.ndtr((high - centre) / level)
        shape = (*x_sigma.shape[:2], num_candidates, size)
        uniform = torch.rand(shape, generator=noisy.generator, dtype=actions.dtype, device=actions.device)
        fresh = centre + level * torch.special.ndtri(start + uniform * (end - start))
        # Far outside the box the truncated Gaussian is beyond the precision of its distribution function.
        fresh = torch.nan_to_num(fresh, nan=low, posinf=high, neginf=low).clamp(low, high)
        fresh_log_probs = target.log_prob(fresh.reshape(num_states, -1, size)).reshape(shape[:3])
        candidates = actions[:, None].expand(-1, x_sigma.shape[1], -1, -1)
        pooled = torch.cat([candidates, fresh], dim=2)  # [B, K, 2 N, A]
        pooled_log_probs = torch.cat([noisy.log_probs[:, None].expand(shape[:3]), fresh_log_probs], dim=2)
        log_kernel = (-0.5 * ((centre - pooled) / level).square()).sum(dim=-1)
        log_mass = (end - start).clamp_min(torch.finfo(actions.dtype).tiny).log() + level.log()
        log_fresh_density = log_kernel - (log_mass + 0.5 * _LOG_2_PI).sum(dim=-1)
        log_weights = pooled_log_probs + log_kernel - torch.logaddexp(pooled_log_probs, log_fresh_density)
        return (torch.softmax(log_weights, dim=-1)[..., None] * pooled).sum(dim=2)

    return defensive_mixture


def make_control_variate(target: TargetDensity, sigma_data: float) -> Posterior:
    """Returns the blend of denoising and target score matching for a single source.

    `mu_hat = (1 - c) x + c (x_sigma + sigma^2 grad log p*(x))`, `c = sigma_data^2 / (sigma_data^2 +
    sigma^2)`: both parts have the posterior mean as expectation, so does every blend, and for a Gaussian p*
    of standard deviation `sigma_data` this one has no variance. The second identity asks for a p* that is
    smooth on the whole space: mass cut off at the ends of a box makes it biased there.

    Source: De Bortoli et al. (2024), "Target score matching", https://arxiv.org/abs/2402.08667, Section 3.

    Args:
      target: p*; its gradient is used at the source.
      sigma_data: standard deviation of p*.
    """

    def control_variate(noisy: NoisyReference) -> Tensor:
        variance = noisy.sigma.unsqueeze(-1).square()
        share = sigma_data**2 / (sigma_data**2 + variance)
        matched = noisy.x_sigma + variance * target.score(noisy.source)
        return (1.0 - share) * noisy.source + share * matched

    return control_variate


DENSITY_POSTERIORS = ("stein", "defensive_mixture", "control_variate")


def make_posterior(
    name: str,
    target: TargetDensity | None = None,
    *,
    low: float = -1.0,
    high: float = 1.0,
    sigma_data: float = 0.5,
) -> Posterior:
    """Returns an estimator by name.

    Args:
      name: one of `POSTERIORS` or `DENSITY_POSTERIORS`.
      target: p* as a function, for `DENSITY_POSTERIORS`.
      low: lower end of the action range.
      high: upper end.
      sigma_data: standard deviation of p*, for `control_variate`.

    Raises:
      ValueError: if the name is unknown, or the estimator needs a target and there is none.
    """
    check_choice("name", name, (*POSTERIORS, *DENSITY_POSTERIORS))
    if name in POSTERIORS:
        return POSTERIORS[name]
    if target is None:
        raise ValueError(f"`target` must be given for {name!r}: it calls log p* or its gradient, got None")
    factories: dict[str, Callable[[], Posterior]] = {
        "stein": lambda: make_stein(target, low, high),
        "defensive_mixture": lambda: make_defensive_mixture(target, low, high),
        "control_variate": lambda: make_control_variate(target, sigma_data),
    }
    return factories[name]()
