"""Estimators of the posterior mean `E[x | x_sigma]` from a finite reference set.

The posterior of a clean action is `p(x | x_sigma) ~ p*(x) N(x_sigma; x, sigma^2 I)`. All functions are pure,
and the estimators share one signature (`Posterior`). Shapes: `B` states, `N` candidates, `A` action size,
`...` noises of a state.

Two rules give the log-weight of a candidate before the Gaussian kernel:

* `log_probs` alone, as in Fang & Di, "Efficient consistency model training for policy distillation in
  reinforcement learning", Eq. (1). With candidates drawn from p* itself its target is p* squared.
* `log_probs - log_proposals`, self-normalised importance sampling, whose estimate converges to the posterior
  mean for every proposal q (q = p* gives Stable Target Field, Xu et al. 2023).

In the mass convention of `ReferenceSet` the proposals are zero and the two rules agree.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class NoisyReference:
    """Reference sets, and noisy actions whose posterior mean is asked for.

    Attributes:
      actions: candidates. Shape `[B, N, A]`.
      log_probs: log p*; `-inf` marks a candidate of no mass. Shape `[B, N]`.
      log_proposals: log q. Shape `[B, N]`.
      x_sigma: noisy actions. Shape `[B, ..., A]`.
      sigma: their noise levels. Shape `[B, ...]`.
      source: the clean actions that `x_sigma` were made from. Shape `[B, ..., A]`.
      generator: source of random draws.
    """

    actions: Tensor  # [B, N, A]
    log_probs: Tensor  # [B, N]
    log_proposals: Tensor  # [B, N]
    x_sigma: Tensor  # [B, ..., A]
    sigma: Tensor  # [B, ...]
    source: Tensor  # [B, ..., A]
    generator: torch.Generator

    def weights(self, log_weights: Tensor) -> Tensor:
        """Returns normalised weights, kernel included, of candidates with `log_weights` `[B, N]`.

        Shape `[B, ..., N]`.
        """
        return torch.softmax(kernel_logits(self.actions, log_weights, self.x_sigma, self.sigma), dim=-1)


Posterior = Callable[[NoisyReference], Tensor]
"""Estimates `E[x | x_sigma]`. Shape `[B, ..., A]`."""


def importance(noisy: NoisyReference) -> Tensor:
    """Weights the candidates by p* and the kernel: `w_i ~ p*(x_i) exp(-|x_sigma - x_i|^2 / (2 sigma^2))`.

    Source: Fang & Di, Eq. (1) and (2), as printed; see the module's docstring for what it converges to.
    Shape `[B, ..., A]`.
    """
    return _weighted_mean(noisy.actions, noisy.weights(noisy.log_probs))


def proposal_corrected(noisy: NoisyReference) -> Tensor:
    """Weights the candidates by p*/q and the kernel.

    `w_i ~ p*(x_i) / q(x_i) exp(-|x_sigma - x_i|^2 / (2 sigma^2))`, which converges to the posterior mean.
    Shape `[B, ..., A]`.
    """
    return _weighted_mean(noisy.actions, noisy.weights(noisy.log_probs - noisy.log_proposals))


def gumbel(noisy: NoisyReference) -> Tensor:
    """Draws one candidate: `argmax_i log p*(x_i) - |x_sigma - x_i|^2 / (2 sigma^2) + Gumbel(0, 1)`.

    A single-sample target from the weights of `importance`. Source: Fang & Di, Section 3.2 and Alg. 2.
    Shape `[B, ..., A]`.
    """
    logits = kernel_logits(noisy.actions, noisy.log_probs, noisy.x_sigma, noisy.sigma)
    return _gather(noisy.actions, gumbel_argmax(logits, noisy.generator))


def single_sample(noisy: NoisyReference) -> Tensor:
    """Returns the source itself: plain consistency training.

    Unbiased where `source` was drawn by `sample_source`, with the largest variance. Source: Song et al.
    (2023), Lemma 1; Fang & Di, Appendix A.1. Shape `[B, ..., A]`.
    """
    return noisy.source


POSTERIORS: dict[str, Posterior] = {
    "single_sample": single_sample,
    "importance": importance,
    "gumbel": gumbel,
    "proposal_corrected": proposal_corrected,
}


def kernel_logits(actions: Tensor, log_weights: Tensor, x_sigma: Tensor, sigma: Tensor) -> Tensor:
    """Computes `log_weights_i - |x_sigma - x_i|^2 / (2 sigma^2)`.

    Args:
      actions: candidates. Shape `[B, N, A]`.
      log_weights: log-weights before the kernel. Shape `[B, N]`.
      x_sigma: noisy actions. Shape `[B, ..., A]`.
      sigma: their noise levels. Shape `[B, ...]`.

    Returns:
      Unnormalised log-weights. Shape `[B, ..., N]`.
    """
    flat = x_sigma.reshape(x_sigma.shape[0], -1, 1, x_sigma.shape[-1])
    squared_distance = (flat - actions.unsqueeze(1)).square().sum(dim=-1)
    scale = 0.5 / sigma.reshape(sigma.shape[0], -1, 1).square()
    logits = log_weights.unsqueeze(1) - squared_distance * scale
    return logits.reshape(*x_sigma.shape[:-1], actions.shape[1])


def sample_source(
    actions: Tensor, log_probs: Tensor, log_proposals: Tensor, num_samples: int, generator: torch.Generator
) -> Tensor:
    """Draws the clean actions that noise is added to, from `softmax(log_probs - log_proposals)`.

    The one rule serves both conventions: a search's masses are sampled as they are, and references drawn from
    p* itself (q = p*) uniformly, as Alg. 1 and 2 of Fang & Di do.

    Args:
      actions: candidates. Shape `[B, N, A]`.
      log_probs: log p*. Shape `[B, N]`.
      log_proposals: log q. Shape `[B, N]`.
      num_samples: draws for each state, `K`.
      generator: source of the draws.

    Returns:
      Sources. Shape `[B, K, A]`.
    """
    log_weights = (log_probs - log_proposals).unsqueeze(1)
    return _gather(actions, gumbel_argmax(log_weights.expand(-1, num_samples, -1), generator))


def gumbel_argmax(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draws an index from `softmax(logits)` over the last axis. Shapes `[..., N]` to `[...]`."""
    # -log of an exponential variable is a Gumbel one.
    exponential = torch.empty_like(logits, memory_format=torch.contiguous_format)
    return (logits - exponential.exponential_(generator=generator).log()).argmax(dim=-1)


def log_effective_sample_size(log_weights: Tensor) -> Tensor:
    """Computes the log of `(sum_i w_i)^2 / sum_i w_i^2`: 0 for one candidate, log N for equal weights.

    Args:
      log_weights: unnormalised. Shape `[..., N]`.

    Returns:
      Log effective sample size. Shape `[...]`.
    """
    return 2.0 * log_weights.logsumexp(dim=-1) - (2.0 * log_weights).logsumexp(dim=-1)


def _weighted_mean(actions: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("b...n,bna->b...a", weights, actions)


def _gather(actions: Tensor, index: Tensor) -> Tensor:
    flat = index.reshape(index.shape[0], -1, 1).expand(-1, -1, actions.shape[-1])
    return actions.gather(1, flat).reshape(*index.shape, actions.shape[-1])
