"""Actions of a consistency policy with exploring noise, and their log-likelihoods, exact and surrogate.

An action is `D(x_K, sigma_K, s) + std z`: multistep consistency sampling (one step by default), and Gaussian
noise at the end. Three quantities stand in for its log-density in the ratio of policy gradients:

* `chain_log_prob`: every step of the sampling is Gaussian given the one before, so the density of the whole
  chain is known exactly, in one network call for each step. Ratios of chains are importance weights as good
  as ratios of actions: both average to one under the old policy. As in DPPO.
* `ode_log_prob`: the density of what the probability-flow ODE of the network samples, with the exact
  divergence. The ODE and the one-step map draw the same actions only if the network is a denoiser and a
  consistency function at once, which it cannot be for any but a deterministic policy.
* `denoising_log_prob`: minus the denoising loss, weighted such that it bounds the log-density of the ODE from
  below. Differences between two policies under the same draws are what FPO takes for the log-ratio.

Sources: Ren et al. (2024), "Diffusion policy policy optimization" (DPPO), https://arxiv.org/abs/2409.00588;
McAllister et al. (2025), "Flow matching policy gradients" (FPO), https://arxiv.org/abs/2507.21053; Song et
al. (2021), "Maximum likelihood training of score-based diffusion models", Theorem 1, for the bound.
"""

import math

import torch
from torch import Tensor

from distill_rl.diffusion.likelihood import log_density
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.gaussian import normal_log_prob

LIKELIHOOD_NAMES = ("gaussian_steps", "exact", "loss_difference")
"""What ratios are made of: `chain_log_prob`, `ode_log_prob`, differences of `denoising_log_prob`."""


def draw_noisy_actions(
    policy: ConsistencyPolicy,
    noise_log_std: Tensor,
    observation: Tensor,
    num_steps: int = 1,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draws actions with exploring noise.

    Args:
      policy: the policy.
      noise_log_std: logarithm of the deviation of the noise at the end. Shape `[A]`.
      observation: shape `[M, O]`.
      num_steps: network calls, `K`.
      generator: source of the noise; torch's global one by default.

    Returns:
      Actions, unclipped `[M, A]`, and what the network was called with at each step `[M, K, A]`.
    """
    sigmas, stds = _chain_levels(policy, num_steps)

    def draw() -> Tensor:
        shape = (*observation.shape[:-1], policy.action_size)
        return torch.randn(shape, generator=generator, device=observation.device)

    x, inputs = sigmas[0] * draw(), []
    for level, sigma in enumerate(sigmas):
        inputs.append(x)
        std = stds[level] if level < len(stds) else noise_log_std.exp()
        x = policy.denoise(x, sigma, observation) + std * draw()
    return x, torch.stack(inputs, dim=-2)


def chain_log_prob(
    policy: ConsistencyPolicy, noise_log_std: Tensor, observation: Tensor, actions: Tensor, inputs: Tensor
) -> Tensor:
    """Returns `sum_k log N(x_{k+1}; D(x_k, sigma_k, s), std_k^2)`, the action being the last `x`.

    Args:
      policy: the policy.
      noise_log_std: see `draw_noisy_actions`.
      observation: shape `[M, O]`.
      actions: shape `[M, A]`.
      inputs: of the network at each step of the sampling. Shape `[M, K, A]`.

    Returns:
      Log-densities in nats; the first input is no part of them, since no policy changes it. Shape `[M]`.
    """
    num_steps = inputs.shape[1]
    sigmas, stds = _chain_levels(policy, num_steps)
    if num_steps == 1:  # the embedding of this level is held ready
        mean = policy.denoise(inputs[:, 0], sigmas[0], observation).unsqueeze(1)
    else:
        levels = inputs.new_tensor(sigmas).expand(inputs.shape[:2])
        mean = policy.denoise(inputs, levels, observation.unsqueeze(1))
    outputs = torch.cat([inputs[:, 1:], actions.unsqueeze(1)], dim=1)
    fixed = inputs.new_tensor(stds).log().reshape(-1, 1).expand(-1, inputs.shape[-1])
    log_stds = torch.cat([fixed, noise_log_std.unsqueeze(0)])
    return normal_log_prob(outputs, mean, log_stds).sum(dim=(1, 2))


def ode_log_prob(
    policy: ConsistencyPolicy, noise_std: float, observation: Tensor, actions: Tensor, num_steps: int
) -> Tensor:
    """Returns log-densities of the probability-flow ODE's samples with Gaussian noise of `noise_std`.

    Noise on top of samples is what the ODE has at that noise level, where its integral therefore starts; see
    `log_density`. The divergence is exact.

    Args:
      policy: the policy.
      noise_std: deviation of the noise, between the policy's noise levels.
      observation: shape `[M, O]`.
      actions: shape `[M, A]`.
      num_steps: of Heun's method.

    Returns:
      Shape `[M]`, in nats.
    """
    return log_density(
        lambda x, sigma: policy.denoise(x, sigma, observation),
        actions,
        sigma_min=max(noise_std, policy.sigma_min),
        sigma_max=policy.sigma_max,
        sigma_data=policy.sigma_data,
        divergence="exact",
        num_steps=num_steps,
    )


def denoising_log_prob(
    policy: ConsistencyPolicy, observation: Tensor, actions: Tensor, sigma: Tensor, noise: Tensor
) -> Tensor:
    """Returns `-mean_l ln(sigma_max / sigma_min) |D(a + sigma_l z_l, sigma_l, s) - a|^2 / sigma_l^2`.

    With `ln sigma` uniform between the policy's noise levels this is, up to a constant, an unbiased estimate
    of the bound on the log-density of the action.

    Args:
      policy: the policy.
      observation: shape `[M, O]`.
      actions: shape `[M, A]`.
      sigma: noise levels. Shape `[M, L]`.
      noise: unit noise. Shape `[M, L, A]`.

    Returns:
      Shape `[M]`, in nats.
    """
    clean = actions.unsqueeze(1)
    denoised = policy.denoise(clean + sigma.unsqueeze(-1) * noise, sigma, observation.unsqueeze(1))
    squared = ((denoised - clean) / sigma.unsqueeze(-1)).square().sum(dim=-1)
    return -math.log(policy.sigma_max / policy.sigma_min) * squared.mean(dim=-1)


def _chain_levels(policy: ConsistencyPolicy, num_steps: int) -> tuple[list[float], list[float]]:
    """Returns the noise level of each network call `[K]`, and the noise added between them `[K - 1]`."""
    sigmas = policy.sampling_sigmas(num_steps)
    return sigmas, [math.sqrt(sigma**2 - policy.sigma_min**2) for sigma in sigmas[1:]]
