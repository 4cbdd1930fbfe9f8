"""The gradient step of `learners.distiller` with the default objective, written plainly.

The same mathematics and the same draws, without any batching: a loop over states and noises, one over the
steps of the ODE, one over parameters. Slow on purpose; it tells how much the vectorised step gains.
"""

import itertools
import math

import torch
from torch import Tensor

from distill_rl.policies.distill_networks import DistillNetworks
from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_FIRST_TAU, _LAST_TAU = 0.3, 8.0


class PlainDistiller:
    """Takes the gradient steps of `Distiller` with the objective `endpoint`, in loops."""

    def __init__(self, networks: DistillNetworks, config: DistillationConfig, seed: int):
        """Starts from the weights of `networks`, with the noise of `seed`."""
        self._networks, self._config = networks, config
        self._generator = torch.Generator().manual_seed(seed)
        self._parameters = list(networks.parameters())
        self._averages = [p.detach().clone() for p in self._parameters]
        self._first = [torch.zeros_like(p) for p in self._parameters]
        self._second = [torch.zeros_like(p) for p in self._parameters]
        self._num_updates = 0

    def update(self, batch: ReferenceSet) -> dict[str, float]:
        """Takes one step and returns `policy_loss` and `value_loss`."""
        networks, config = self._networks, self._config
        networks.policy.normalizer.update(batch.observation)
        networks.value.normalizer.update(batch.observation)
        num_states, _, action_size = batch.actions.shape
        noise = torch.randn((num_states, config.num_noises, action_size), generator=self._generator)
        num_zero = round(config.zero_noise_fraction * num_states)
        noise[:num_zero] = 0.0
        policy_losses, value_losses = [], []
        for s in range(num_states):
            log_weights = batch.log_probs[s] - batch.log_proposals[s]
            for k in range(config.num_noises):
                if s < num_zero:
                    target = torch.softmax(log_weights, dim=0) @ batch.actions[s]
                else:
                    target = plain_endpoint(batch.actions[s], log_weights, noise[s, k], config)
                x_sigma = config.sigma_max * noise[s, k]
                predicted = networks.policy.denoise(x_sigma, config.sigma_max, batch.observation[s])
                policy_losses.append((predicted - target).square().sum())
            value_losses.append(networks.value.loss(batch.observation[s], batch.policy_value[s]))
        policy_loss = sum(policy_losses) / len(policy_losses)
        value_loss = sum(value_losses) / len(value_losses)
        for parameter in self._parameters:
            parameter.grad = None
        (policy_loss + config.value_loss_weight * value_loss).backward()
        self._step()
        return {"policy_loss": float(policy_loss.detach()), "value_loss": float(value_loss.detach())}

    @torch.no_grad()
    def _step(self) -> None:
        """Clips, steps Adam and averages, one parameter after the other."""
        self._num_updates += 1
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in self._parameters))
        scale = min(1.0, self._config.grad_clip_norm / norm)
        corrections = [1.0 - beta**self._num_updates for beta in _BETAS]
        for p, average, first, second in zip(self._parameters, self._averages, self._first, self._second):
            grad = scale * p.grad
            first.mul_(_BETAS[0]).add_((1.0 - _BETAS[0]) * grad)
            second.mul_(_BETAS[1]).add_((1.0 - _BETAS[1]) * grad * grad)
            deviation = (second / corrections[1]).sqrt() + _EPSILON
            p -= self._config.learning_rate * (first / corrections[0]) / deviation
            average += (1.0 - self._config.ema_decay) * (p - average)


@torch.no_grad()
def plain_endpoint(actions: Tensor, log_weights: Tensor, noise: Tensor, config: DistillationConfig) -> Tensor:
    """Integrates the ODE of one reference set from one noise; see `learners.reference_ode`.

    Args:
      actions: candidates. Shape `[N, A]`.
      log_weights: shape `[N]`.
      noise: unit noise. Shape `[A]`.
      config: steps and noise levels.

    Returns:
      The end point. Shape `[A]`.
    """
    weights = torch.softmax(log_weights, dim=0)
    mean = weights @ actions
    squared_norms = (actions - mean).square().sum(dim=1)
    scale = max(float(weights @ squared_norms) ** 0.5, config.sigma_min * _LAST_TAU)
    y = (actions - mean) / scale
    num_points = config.num_ode_steps
    ratio = (_LAST_TAU / _FIRST_TAU) ** (1.0 / (num_points - 1))
    taus = [_FIRST_TAU * ratio**i for i in range(num_points)]
    v = noise - mean / config.sigma_max

    def slope_at(v: Tensor, tau: float) -> Tensor:
        kernel = log_weights + tau * (y @ v) - 0.5 * tau**2 * y.square().sum(dim=1)
        return torch.softmax(kernel, dim=0) @ y

    slopes = [slope_at(v, taus[0])]
    v = v + 0.5 * taus[0] * slopes[0]
    for i, (tau, next_tau) in enumerate(itertools.pairwise(taus)):
        rise = slopes[i] - slopes[i - 1] if i > 0 else slopes[0]
        rise = rise / (math.log(tau / taus[i - 1]) if i > 0 else 1.0)
        # The integral of `slope + rise log(t / tau)` over t.
        v = v + (next_tau - tau) * slopes[i]
        v = v + (next_tau * math.log(next_tau / tau) - (next_tau - tau)) * rise
        slopes.append(slope_at(v, next_tau))
    denoised = slopes[-1]
    remaining = config.sigma_min * taus[-1] / scale
    return mean + scale * (denoised + remaining * (v / taus[-1] - denoised))
