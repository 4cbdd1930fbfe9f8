"""The energy score of one-step samples against the reference set."""

import dataclasses

import torch
from torch import Tensor

from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.objectives.base import Denoiser
from learners.objectives.one_step import partly_zero_noise, reference_log_weights, reference_means
from learners.posterior import Posterior

_SMALLEST_SQUARED_DISTANCE = 1e-12  # keeps the gradient of a distance finite at zero


@dataclasses.dataclass(frozen=True)
class EnergyObjective:
    """Scores `K` one-step samples `y_k = D(sigma_max z_k, sigma_max, s)` of a state by the energy score.

    `sum_i w_i mean_k |y_k - x_i| - 1/2 mean_{k != l} |y_k - y_l|` with the set's weights `w`. The score is
    strictly proper and linear in the weights: its mean over random sets, and over neighbouring states, is
    that of their expectation, so the best policy is p* itself however few candidates a set has. (The mean of
    end points over sets is less spread than p*.) Which noise becomes which action is left to the network.

    Source: Gneiting & Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", Section
    4.3; to train a generator, Shen & Meinshausen (2024), "Engression", arXiv:2307.00835.

    Attributes:
      is_corrected: weights p*/q (proposal corrected), or p* alone as in Fang & Di, Eq. (1).
      num_noises: samples of each state, at least 2.
      zero_noise_fraction: share of the states (the first ones of the batch) at which all noise is zero, and
        the loss the squared distance to the mean of p*.
    """

    is_corrected: bool = True
    num_noises: int = 2
    zero_noise_fraction: float = 0.0

    @classmethod
    def from_config(cls, config: DistillationConfig, posterior: Posterior) -> "EnergyObjective":
        """Builds the objective from the fields of a configuration."""
        del posterior
        is_corrected = config.posterior == "proposal_corrected"
        return cls(is_corrected, config.num_noises, config.zero_noise_fraction)

    def __call__(
        self,
        policy: Denoiser,
        target_policy: Denoiser,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the mean over states; see `Objective`. Shape `[]`."""
        del target_policy, update
        actions: Tensor = batch.actions
        noise, num_zero = partly_zero_noise(actions, self.num_noises, self.zero_noise_fraction, generator)
        samples = policy.denoise(policy.sigma_max * noise, policy.sigma_max, batch.observation.unsqueeze(1))
        log_weights = reference_log_weights(batch, self.is_corrected)
        # All samples without noise are one.
        means = reference_means(actions[:num_zero], log_weights[:num_zero])
        squared_distances = (samples[:num_zero, 0] - means).square().sum(dim=-1)
        scores = _energy_scores(samples[num_zero:], actions[num_zero:], log_weights[num_zero:])
        return torch.cat([squared_distances, scores]).mean()


def _energy_scores(samples: Tensor, actions: Tensor, log_weights: Tensor) -> Tensor:
    """Returns the score of each state. Shapes `[B, K, A]`, `[B, N, A]`, `[B, N]` to `[B]`."""
    weights = torch.softmax(log_weights, dim=-1).unsqueeze(1)  # [B, 1, N]
    attraction = (weights * _distances(samples, actions)).sum(dim=-1).mean(dim=-1)
    # A sample's distance to itself is zero, up to the floor.
    num_pairs = samples.shape[1] * (samples.shape[1] - 1)
    repulsion = _distances(samples, samples).sum(dim=(-2, -1)) / num_pairs
    return attraction - 0.5 * repulsion


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Returns the distances of all pairs. Shapes `[B, K, A]`, `[B, N, A]` to `[B, K, N]`."""
    squared = (x.unsqueeze(2) - y.unsqueeze(1)).square().sum(dim=-1)
    return (squared + _SMALLEST_SQUARED_DISTANCE).sqrt()
