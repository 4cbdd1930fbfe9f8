"""Log-densities of generative policies, by the probability-flow ODE.

A denoiser `D` turns noise into actions along `dx / dsigma = (x - D(x, sigma)) / sigma`. Run the other way,
from an action to noise, the ODE tells the density of the action by the instantaneous change of variables.
With `u = ln(sigma)`, in `A` dimensions,

    dx / du = x - D(x, e^u),    d log p / du = -(A - tr dD/dx),

    log p(a) = log N(x(u_max); 0, sigma_max^2) + integral of (A - tr dD/dx) du from u_min to u_max.

The path is followed in `v = x / sqrt(sigma^2 + sigma_data^2)`, which neither grows with the noise nor moves
where there is none; the integral does not depend on that choice.

What comes out is the density of what the ODE samples: of the model noised by `sigma_min`, with the start
`N(0, sigma_max^2)` that samplers use.

Source: Song et al. (2021), "Score-based generative modeling through stochastic differential equations",
Eq. (39) and Appendix D.2, https://arxiv.org/abs/2011.13456; the ODE is Eq. (4) of Karras et al. (2022).
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from distill_rl.checks import check_choice, check_positive, check_shape
from distill_rl.diffusion.samplers import DenoiseFn
from distill_rl.diffusion.schedules import check_noise_levels

Divergence = Literal["exact", "rademacher", "gaussian"]
LikelihoodSolver = Literal["heun", "adaptive"]

MAX_EXACT_SIZE = 32
"""Largest action size for which the exact divergence is the default; it costs that many vector products."""


def log_density(
    denoise_fn: DenoiseFn,
    actions: Tensor,
    *,
    sigma_min: float,
    sigma_max: float,
    sigma_data: float = 0.5,
    divergence: Divergence | None = None,
    num_probes: int = 1,
    solver: LikelihoodSolver = "heun",
    num_steps: int = 128,
    tolerance: float = 1e-5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Computes log-densities of actions under the model of a denoiser.

    Gradients with respect to whatever `denoise_fn` depends on flow unless they are disabled.

    Args:
      denoise_fn: the denoiser D; rows must not depend on each other.
      actions: shape `[M, A]`.
      sigma_min: noise level at which the actions lie.
      sigma_max: noise level at which samplers start.
      sigma_data: about the standard deviation of actions; the solvers are most accurate near it.
      divergence: `exact`, or Hutchinson's estimate with `rademacher` or `gaussian` probes, which stay the
        same along the whole path (Grathwohl et al. 2019, FFJORD, Section 3.1); None is `exact` up to
        `MAX_EXACT_SIZE` action dimensions and `rademacher` beyond.
      num_probes: probes of each action, averaged; unused by `exact`.
      solver: `heun` on a grid uniform in `ln(sigma)`, or `adaptive` (Dormand-Prince of order 5, torchdiffeq).
      num_steps: of `heun`, two evaluations each.
      tolerance: absolute and relative, of `adaptive`.
      generator: source of the probes; not needed by `exact`.

    Returns:
      Log-densities, in nats. Shape `[M]`.

    Raises:
      ValueError: if a setting is unknown or out of range, actions have another shape, or probes no generator.
    """
    check_shape("actions", actions, (None, None))
    check_noise_levels(sigma_min, sigma_max)
    check_choice("solver", solver, ("heun", "adaptive"))
    for name, number in (("num_steps", num_steps), ("num_probes", num_probes)):
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1, got {number}")
    check_positive("tolerance", tolerance)
    cotangents = _cotangents(actions, divergence, num_probes, generator)
    is_differentiated = torch.is_grad_enabled()

    def slopes(u: float | Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `dv / du` `[M, A]` and the integrand `A - tr dD/dx` `[M]`."""
        sigma = math.exp(float(u.detach() if isinstance(u, Tensor) else u))
        scale = math.hypot(sigma, sigma_data)
        with torch.enable_grad():
            x = scale * (v if v.requires_grad else v.detach().requires_grad_())
            denoised = denoise_fn(x, sigma)
            (products,) = torch.autograd.grad(
                denoised, x, cotangents, is_grads_batched=True, create_graph=is_differentiated
            )
            drift = (x - denoised) / scale - (sigma / scale) ** 2 * v
        rate = v.shape[1] - (products * cotangents).sum(dim=(0, 2))
        return (drift, rate) if is_differentiated else (drift.detach(), rate)

    start, end = math.log(sigma_min), math.log(sigma_max)
    v = actions / math.hypot(sigma_min, sigma_data)
    if solver == "heun":
        v, change = _integrate_heun(slopes, v, start, end, num_steps)
    else:
        v, change = _integrate_adaptively(slopes, v, start, end, tolerance)
    unit_noise = v * math.hypot(sigma_max, sigma_data) / sigma_max
    log_normal = -0.5 * unit_noise.square() - math.log(sigma_max) - 0.5 * math.log(2.0 * math.pi)
    return log_normal.sum(dim=1) + change


def _cotangents(
    actions: Tensor, divergence: str | None, num_probes: int, generator: torch.Generator | None
) -> Tensor:
    """Returns vectors `v` `[P, M, A]` with `sum_p v_p J v_p` the trace of `J`, or its unbiased estimate."""
    num_actions, size = actions.shape
    if divergence is None:
        divergence = "exact" if size <= MAX_EXACT_SIZE else "rademacher"
    check_choice("divergence", divergence, ("exact", "rademacher", "gaussian"))
    if divergence == "exact":
        return torch.eye(size, dtype=actions.dtype, device=actions.device)[:, None].expand(
            -1, num_actions, -1
        )
    if generator is None:
        raise ValueError(f"`generator` must be given for the divergence {divergence}, got None")
    probes = torch.randn(
        (num_probes, num_actions, size), dtype=actions.dtype, device=actions.device, generator=generator
    )
    return (probes.sign() if divergence == "rademacher" else probes) / math.sqrt(num_probes)


_Slopes = Callable[[float | Tensor, Tensor], tuple[Tensor, Tensor]]


def _integrate_heun(
    slopes: _Slopes, v: Tensor, start: float, end: float, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Follows the path in equal steps; returns its end `[M, A]` and the integral along it `[M]`."""
    step = (end - start) / num_steps
    total = v.new_zeros(len(v))
    for index in range(num_steps):
        u = start + index * step
        drift, rate = slopes(u, v)
        next_drift, next_rate = slopes(u + step, v + step * drift)
        v = v + 0.5 * step * (drift + next_drift)
        total = total + 0.5 * step * (rate + next_rate)
    return v, total


def _integrate_adaptively(
    slopes: _Slopes, v: Tensor, start: float, end: float, tolerance: float
) -> tuple[Tensor, Tensor]:
    """The same with error control over path and integral together."""
    import torchdiffeq  # with scipy, most of what loading a policy would take

    path, total = torchdiffeq.odeint(
        lambda u, state: slopes(u, state[0]),
        (v, v.new_zeros(len(v))),
        v.new_tensor([start, end]),
        method="dopri5",
        rtol=tolerance,
        atol=tolerance,
    )
    return path[-1], total[-1]
