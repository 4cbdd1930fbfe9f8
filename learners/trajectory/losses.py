"""Losses of generative models of trajectories: denoising, consistency of jumps, and reward."""

import math

import torch
from torch import Tensor

from distill_rl.diffusion.scalings import edm_scalings
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper

_HUBER_SCALE = 0.00054


def pseudo_huber(difference: Tensor) -> Tensor:
    """Returns `sqrt(|d|^2 + c^2) - c` of each trajectory as one vector, with `c = 0.00054 sqrt(T D)`.

    Source: Song & Dhariwal (2024), "Improved techniques for training consistency models", Eq. (7) and Section
    3.3.

    Args:
      difference: shape `[B, T, D]`.

    Returns:
      Shape `[B]`.
    """
    c = _HUBER_SCALE * math.sqrt(difference[0].numel())
    norm: Tensor = (difference.square().sum(dim=(1, 2)) + c**2).sqrt()
    return norm - c


def denoising_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Returns `1 / c_out = sqrt(s^2 + sd^2) / (s sd)`, with which the errors of the network weigh alike.

    An error of `F` is `c_out` times as large in the denoised trajectory. Karras et al. (2022), Table 1,
    weigh its square by `1 / c_out^2`; the distance here is of the first order. Their weight on it would let
    the smallest noise levels, where there is little to learn, outweigh all others. Shape `[...]`.
    """
    return 1.0 / edm_scalings(sigma, sigma_data).c_out


def lognormal_sigmas(
    like: Tensor, generator: torch.Generator, log_mean: float = -1.2, log_scale: float = 1.2
) -> Tensor:
    """Draws a noise level for each trajectory, `ln s ~ N(-1.2, 1.2^2)`. Source: Karras et al., Table 1.

    Args:
      like: trajectories, for their number and device. Shape `[B, T, D]`.
      generator: source of the draw.
      log_mean: mean of the logarithm.
      log_scale: standard deviation of the logarithm.

    Returns:
      Shape `[B]`.
    """
    drawn = torch.randn(like.shape[0], generator=generator, device=like.device)
    return (log_mean + log_scale * drawn).exp()


def denoising_loss(
    teacher: TrajectoryDenoiser, clean: Tensor, condition: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Returns the mean of `d(x0, D(x0 + s z, s)) / c_out(s)`. Source: RACTD, Eq. (4).

    Args:
      teacher: learns.
      clean: `x0`. Shape `[B, T, D]`.
      condition: shape `[B, C]`.
      generator: source of levels and noise.

    Returns:
      Shape `[]`.
    """
    sigma = lognormal_sigmas(clean, generator)
    noisy = add_noise(clean, sigma, generator)
    weight = denoising_weight(sigma, teacher.sigma_data)
    return (weight * pseudo_huber(teacher.denoise(noisy, sigma, condition) - clean)).mean()


def student_denoising_loss(
    student: TrajectoryJumper, clean: Tensor, condition: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Returns the mean of `d(x0, G(x0 + s z, s, s_min)) / c_out(s)`. Source: RACTD, Eq. (7).

    Args:
      student: learns.
      clean: `x0`. Shape `[B, T, D]`.
      condition: shape `[B, C]`.
      generator: source of levels and noise.

    Returns:
      Shape `[]`.
    """
    sigma = lognormal_sigmas(clean, generator).clamp(student.sigma_min, student.sigma_max)
    noisy = add_noise(clean, sigma, generator)
    jumped = student.jump(noisy, sigma, torch.full_like(sigma, student.sigma_min), condition)
    return (denoising_weight(sigma, student.sigma_data) * pseudo_huber(jumped - clean)).mean()


def consistency_trajectory_loss(
    student: TrajectoryJumper,
    teacher: TrajectoryDenoiser,
    clean: Tensor,
    condition: Tensor | None,
    *,
    sigmas: Tensor,
    num_solver_steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Returns the mean distance of a jump from `t` to `k` and of one that starts where the teacher leads.

    `d(G(x_k, k, 0), G(x_k', k, 0))` with `x_k = G(x_t, t, k)` and `x_k' = G(Heun(x_t, t -> u), u, k)`, where
    only the first jump, `x_k`, is differentiated with respect to the weights. Source: Kim et al. (2024), Eq.
    (8) to (10); RACTD, Eq. (5) and (6), which marks both outer jumps as constant: the gradient flows through
    the input of the first of them, or nothing would be learned.

    Args:
      student: `G`, learns.
      teacher: solves the flow; never changed.
      clean: shape `[B, T, D]`.
      condition: shape `[B, C]`.
      sigmas: noise levels, descending from the student's largest to its smallest. Shape `[K]`.
      num_solver_steps: most steps of the teacher on these levels, from `t` to `u`; each number is as likely.
      generator: source of every draw.

    Returns:
      Shape `[]`.
    """
    device, num_states, num_levels = clean.device, clean.shape[0], len(sigmas)

    def draw(low: Tensor, high: Tensor) -> Tensor:
        """Draws integers of `[low, high]`, each as likely."""
        uniform = torch.rand(num_states, generator=generator, device=device)
        return (low + uniform * (high - low + 1)).long().minimum(high)

    zero = torch.zeros(num_states, dtype=torch.long, device=device)
    start = draw(zero, zero + num_levels - 2)
    end = draw(start + 1, zero + num_levels - 1)
    middle = draw(start + 1, end.minimum(start + num_solver_steps))
    sigma_start, sigma_middle, sigma_end = sigmas[start], sigmas[middle], sigmas[end]
    sigma_last = torch.full_like(sigma_end, student.sigma_min)
    x_start = add_noise(clean, sigma_start, generator)
    jumped = student.jump(x_start, sigma_start, sigma_end, condition)
    with torch.no_grad():
        x_middle = solve_flow(teacher, x_start, sigmas, start, middle, condition)
        target = student.jump(x_middle, sigma_middle, sigma_end, condition)
        clean_target = student.jump(target, sigma_end, sigma_last, condition)
    student.requires_grad_(False)
    clean_jumped = student.jump(jumped, sigma_end, sigma_last, condition)
    student.requires_grad_(True)
    return pseudo_huber(clean_jumped - clean_target).mean()


def solve_flow(
    teacher: TrajectoryDenoiser,
    x_sigma: Tensor,
    sigmas: Tensor,
    start: Tensor,
    stop: Tensor,
    condition: Tensor | None,
) -> Tensor:
    """Follows the probability flow of a denoiser by Heun's steps, each trajectory over levels of its own.

    Args:
      teacher: the denoiser.
      x_sigma: trajectories at their first noise level. Shape `[B, T, D]`.
      sigmas: noise levels, descending and positive. Shape `[K]`.
      start: index of the first level. Shape `[B]`, int64.
      stop: index of the last one, not below `start`. Shape `[B]`, int64.
      condition: shape `[B, C]`.

    Returns:
      Trajectories at their last noise level. Shape `[B, T, D]`.
    """
    index = start.clone()
    while len(active := (index < stop).nonzero()[:, 0]) > 0:
        x = x_sigma[active]
        own_condition = None if condition is None else condition[active]
        sigma, next_sigma = sigmas[index[active]], sigmas[index[active] + 1]
        length = (next_sigma - sigma)[:, None, None]
        slope = (x - teacher.denoise(x, sigma, own_condition)) / sigma[:, None, None]
        guess = x + length * slope
        next_slope = (guess - teacher.denoise(guess, next_sigma, own_condition)) / next_sigma[:, None, None]
        x_sigma = x_sigma.index_copy(0, active, x + 0.5 * length * (slope + next_slope))
        index[active] += 1
    return x_sigma


def add_noise(clean: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Returns `x0 + s z` with unit noise z. Shapes `[B, T, D]`, `[B]` to `[B, T, D]`."""
    noise = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    return clean + sigma[:, None, None] * noise
