"""The probability-flow ODE of a finite reference set, whose score is known in closed form.

For weighted points `x_i` noised by `sigma`, the denoiser is `mu(x, sigma) = sum_i w_i x_i` with
`w_i ~ exp(log_weights_i - |x - x_i|^2 / (2 sigma^2))`, and `dx / dsigma = (x - mu) / sigma` carries Gaussian
noise at `sigma_max` to the points, each hit with its weight.

The solver works in other coordinates. With `m` and `c` the weighted mean and standard deviation of a set,
`y_i = (x_i - m) / c`, `tau = c / sigma` and `v = (x - m) / sigma`, the ODE becomes

    dv / dtau = E[y] under  w_i exp(tau v.y_i - tau^2 |y_i|^2 / 2)

whose right side is bounded, is zero at `tau = 0` (so the whole regime of large `sigma` is one step), and
decides between the points at `tau` of order one whatever the spread of the set. A short geometric grid in
`tau` therefore serves every state, early in training or late.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

DenoiseFn = Callable[[Tensor, Tensor], Tensor]
"""`(x_sigma [B, K, A], sigma [B, K]) -> E[x | x_sigma] [B, K, A]`."""

_NEARLY_ZERO_TAU = 0.01
_FIRST_TAU = 0.3
_LAST_TAU = 8.0
_LAST_TAU_OF_ESTIMATES = 12.0  # modes narrower than the set have an inside, which is not to be averaged


def reference_endpoints(
    actions: Tensor,
    log_weights: Tensor,
    noise: Tensor,
    *,
    num_steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    denoise_fn: DenoiseFn | None = None,
) -> Tensor:
    """Integrates the ODE of each reference set from `sigma_max * noise` down to `sigma_min`.

    One evaluation a step: the slope is taken to be linear in `log tau` through the last two grid points, and
    integrated exactly (as in DPM-Solver++(2M), Lu et al. 2022, https://arxiv.org/abs/2211.01095; linear in
    `tau` itself it overshoots). Last comes the step to `sigma_min` with the posterior mean held. At the last
    grid point, `sigma` an eighth of the set's standard deviation, it has chosen its candidate, but candidates
    closer to each other than that are still averaged.

    Args:
      actions: candidates. Shape `[B, N, A]`.
      log_weights: log-weights of the candidates; `-inf` marks one of no mass. Shape `[B, N]`.
      noise: unit noise, `K` draws for each state. Shape `[B, K, A]`.
      num_steps: evaluations of the posterior mean; at least 3.
      sigma_min: noise level of the end points, in action units.
      sigma_max: noise level where `sigma_max * noise` lies.
      denoise_fn: another estimate of the posterior mean to integrate. The set then tells the coordinates
        only, and the standard deviation is that of one dimension: there is no candidate to choose.

    Returns:
      End points. Shape `[B, K, A]`.

    Raises:
      ValueError: if `num_steps` is below 3.
    """
    if num_steps < 3:
        raise ValueError(f"`num_steps` must be at least 3, got {num_steps}")
    grid = _tau_grid(num_steps, _LAST_TAU)
    if denoise_fn is not None:
        grid = _tau_grid(num_steps - 1, _LAST_TAU_OF_ESTIMATES)
    # Layout [A, N, K, B]: long contiguous rows, so that sums over the short axes A and N are vectorised adds.
    points = actions.permute(2, 1, 0).contiguous()
    logits = torch.log_softmax(log_weights, dim=-1).T.contiguous()
    weights = logits.exp()
    mean = (weights * points).sum(dim=1, keepdim=True)
    centred = points - mean
    squared_norm = centred.square().sum(dim=0)
    # The floor keeps the whole grid above `sigma_min` for sets of (nearly) one point.
    scale = (weights * squared_norm).sum(dim=0).sqrt()
    if denoise_fn is not None:
        scale = scale / len(points) ** 0.5
    scale = scale.clamp_min(sigma_min * grid[-1])
    y = (centred / scale).unsqueeze(2)  # [A, N, 1, B]
    half_norm = (0.5 * squared_norm / scale.square()).unsqueeze(1)  # [N, 1, B]
    logits = logits.unsqueeze(1)
    v = noise.permute(2, 1, 0).contiguous() - mean / sigma_max  # [A, K, B]

    def posterior_mean(v: Tensor, tau: float) -> Tensor:
        if denoise_fn is not None:
            sigma = scale / tau
            x_sigma = (mean + sigma * v).permute(2, 1, 0)
            denoised = denoise_fn(x_sigma, sigma[:, None].expand(x_sigma.shape[:2]))
            return (denoised.permute(2, 1, 0) - mean) / scale
        kernel = (y * (tau * v).unsqueeze(1)).sum(dim=0) + (logits - tau**2 * half_norm)
        return (y * torch.softmax(kernel, dim=0)).sum(dim=1)

    # At tau = 0 the slope is the weighted mean of y: zero, or what another estimate has there. From there to
    # the first point it is linear in tau, so it rises by itself over one unit of log tau.
    first_slope = torch.zeros_like(v)
    if denoise_fn is not None:
        first_slope = posterior_mean(v, _NEARLY_ZERO_TAU)
        v = v + grid[0] * first_slope
    slope = posterior_mean(v, grid[0])
    v = v + 0.5 * grid[0] * (slope - first_slope)
    last_slope, last_log_step = first_slope, 1.0
    for tau, next_tau in itertools.pairwise(grid):
        step, log_step = next_tau - tau, math.log(next_tau / tau)
        rise = (slope - last_slope) / last_log_step  # for each unit of log tau
        v = v + step * slope + (next_tau * log_step - step) * rise
        last_slope, last_log_step = slope, log_step
        slope = posterior_mean(v, next_tau)
    remaining = sigma_min * grid[-1] / scale  # sigma_min over the last noise level
    end = slope + remaining * (v / grid[-1] - slope)
    return (mean + scale * end).permute(2, 1, 0)


def _tau_grid(num_points: int, last_tau: float) -> list[float]:
    ratio = (last_tau / _FIRST_TAU) ** (1.0 / (num_points - 1))
    return [_FIRST_TAU * ratio**i for i in range(num_points)]
