"""The energy score of one-step samples against the reference set."""

import dataclasses

import torch
from torch import Tensor

from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.objectives.base import Denoiser
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
    """

    is_corrected: bool = True
    num_noises: int = 2

    @classmethod
    def from_config(cls, config: DistillationConfig, posterior: Posterior) -> "EnergyObjective":
        """Builds the objective from the fields of a configuration."""
        del posterior
        return cls(config.posterior == "proposal_corrected", config.num_noises)

    def __call__(
        self,
        policy: Denoiser,
        target_policy: Denoiser,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the mean score over states; see `Objective`. Shape `[]`."""
        del target_policy, update
        actions: Tensor = batch.actions
        shape = (actions.shape[0], self.num_noises, actions.shape[-1])
        noise = torch.randn(shape, generator=generator, device=actions.device)
        samples = policy.denoise(policy.sigma_max * noise, policy.sigma_max, batch.observation.unsqueeze(1))
        log_weights = batch.log_probs - batch.log_proposals if self.is_corrected else batch.log_probs
        weights = torch.softmax(log_weights, dim=-1).unsqueeze(1)  # [B, 1, N]
        attraction = (weights * _distances(samples, actions)).sum(dim=-1).mean(dim=-1)
        # A sample's distance to itself is zero, up to the floor.
        pairs = self.num_noises * (self.num_noises - 1)
        repulsion = _distances(samples, samples).sum(dim=(-2, -1)) / pairs
        return (attraction - 0.5 * repulsion).mean()


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Returns the distances of all pairs. Shapes `[B, K, A]`, `[B, N, A]` to `[B, K, N]`."""
    squared = (x.unsqueeze(2) - y.unsqueeze(1)).square().sum(dim=-1)
    return (squared + _SMALLEST_SQUARED_DISTANCE).sqrt()
