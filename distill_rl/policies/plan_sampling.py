"""From start and goal to a plan: by many steps of a denoiser, guided or not, or by jumps."""

from collections.abc import Callable

import numpy as np
import torch

from distill_rl.checks import check_at_least_one, check_finite, check_shape
from distill_rl.datasets.state_limits import StateLimits
from distill_rl.diffusion.multistep import sample_diffusion
from distill_rl.networks.plan_networks import InverseDynamics, PlanReturn
from distill_rl.policies.state_plans import PlanDenoiser, PlanJumper

SampleFn = Callable[[torch.Tensor], torch.Tensor]
"""`ends [B, 2 S] -> scaled plans [B, T, S]`."""


def diffusion_sampler(
    denoiser: PlanDenoiser,
    num_steps: int,
    sampler: str,
    sigmas: torch.Tensor,
    generator: torch.Generator,
    guide: PlanReturn | None = None,
    guidance_scale: float = 0.0,
) -> SampleFn:
    """Returns a sampler of a denoiser; with `ddpm` and a guide it is Diffuser.

    Diffuser draws each step about `mu + scale Sigma grad J(mu)`. Source: Janner et al. (2022), Alg. 1.

    Args:
      denoiser: of plans.
      num_steps: `T`.
      sampler: see `sample_diffusion`.
      sigmas: descending noise levels; the last one may be 0. Shape `[K]`.
      generator: source of every draw.
      guide: `J`.
      guidance_scale: factor on its gradient.

    Raises:
      ValueError: once it is called, see `sample_diffusion`.
    """

    def sample(ends: torch.Tensor) -> torch.Tensor:
        shape = (ends.shape[0], num_steps, ends.shape[1] // 2)

        def noise_fn() -> torch.Tensor:
            return torch.randn(shape, generator=generator, device=ends.device)

        def denoise_fn(x: torch.Tensor, sigma: float) -> torch.Tensor:
            return denoiser.denoise(x, x.new_full(x.shape[:1], sigma), ends)

        def guide_fn(x: torch.Tensor, sigma: float) -> torch.Tensor:
            assert guide is not None
            return guidance_scale * return_gradient(guide, x, sigma, ends)

        guided = guide_fn if guide is not None else None
        with torch.no_grad():
            return sample_diffusion(sampler, denoise_fn, sigmas[0] * noise_fn(), sigmas, noise_fn, guided)

    return sample


def return_gradient(guide: PlanReturn, x: torch.Tensor, sigma: float, ends: torch.Tensor) -> torch.Tensor:
    """Returns the gradient of the predicted return of noisy plans with respect to them.

    Args:
      guide: predicts.
      x: plans. Shape `[B, T, S]`.
      sigma: their noise level.
      ends: shape `[B, 2 S]`.

    Returns:
      Shape `[B, T, S]`; 0 at the ends.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        returns = guide(leaf, x.new_full(x.shape[:1], sigma), ends)
        gradient: torch.Tensor = torch.autograd.grad(returns.sum(), leaf)[0]
    return gradient


def jump_sampler(
    jumper: PlanJumper, num_steps: int, generator: torch.Generator, sigmas: tuple[float, ...] = ()
) -> SampleFn:
    """Returns a sampler by one jump, and one more from each of further noise levels; see `PlanJumper.sample`.

    Args:
      jumper: student.
      num_steps: `T`.
      generator: source of every draw.
      sigmas: levels to return to, descending.
    """

    def sample(ends: torch.Tensor) -> torch.Tensor:
        shape = (ends.shape[0], num_steps, ends.shape[1] // 2)

        def noise_fn() -> torch.Tensor:
            return torch.randn(shape, generator=generator, device=ends.device)

        with torch.no_grad():
            return jumper.sample(noise_fn(), ends, sigmas, noise_fn)

    return sample


def plan_states(
    sample_fn: SampleFn,
    limits: StateLimits,
    start: np.ndarray,
    goal: np.ndarray,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Plans from starts to goals.

    Args:
      sample_fn: samples scaled plans.
      limits: by which states are scaled.
      start: shape `[M, S]`.
      goal: shape `[M, S]`.
      device: that it samples on.

    Returns:
      Shape `[M, T, S]`, float32.

    Raises:
      ValueError: if the shapes are others, or an entry is not finite.
    """
    for name, states in (("start", start), ("goal", goal)):
        check_shape(name, states, (len(start), len(limits.low)))
        check_finite(name, states)
    ends = torch.from_numpy(np.concatenate([limits.scale(start), limits.scale(goal)], axis=1)).to(device)
    return limits.restore(sample_fn(ends).cpu().numpy())


def interpolate_plans(plans: np.ndarray, stride: int) -> np.ndarray:
    """Fills in the states between those of plans, on straight lines.

    Args:
      plans: shape `[M, T, S]`.
      stride: steps from one state to the next.

    Returns:
      Shape `[M, (T - 1) stride + 1, S]`, float32.

    Raises:
      ValueError: if `stride` is below 1.
    """
    check_at_least_one("stride", stride)
    share = np.arange(stride, dtype=np.float32)[:, None] / stride
    between = plans[:, :-1, None] + share * (plans[:, 1:] - plans[:, :-1])[:, :, None]
    return np.concatenate([between.reshape(len(plans), -1, plans.shape[2]), plans[:, -1:]], axis=1)


def infer_actions(
    inverse_dynamics: InverseDynamics, limits: StateLimits, state: np.ndarray, next_state: np.ndarray
) -> np.ndarray:
    """Returns the actions between states.

    Args:
      inverse_dynamics: predicts them.
      limits: by which states are scaled.
      state: shape `[M, S]`.
      next_state: shape `[M, S]`.

    Returns:
      Shape `[M, A]`, float32; not clipped.
    """
    device = inverse_dynamics.step_scale.device
    scaled = [torch.from_numpy(limits.scale(states)).to(device) for states in (state, next_state)]
    with torch.no_grad():
        actions: np.ndarray = inverse_dynamics(*scaled).cpu().numpy()
    return actions
