"""Consistency training on the actions that were taken, weighted row by row."""

import torch
from torch import Tensor

from distill_rl.types import ReferenceSet
from learners.objectives.base import Denoiser
from learners.objectives.consistency import ConsistencyObjective
from learners.objectives.noise_levels import NoisePairs, PairSampler, karras_pairs
from learners.posterior import single_sample


def weighted_consistency_loss(
    policy: Denoiser,
    observation: Tensor,
    actions: Tensor,
    weights: Tensor,
    *,
    num_noise_levels: int,
    generator: torch.Generator,
) -> Tensor:
    """Returns `mean w |D(a + s_{n+1} z, s_{n+1}) - sg D(a + s_n z, s_n)|^2` on a fixed grid.

    Plain consistency training of Song et al. (2023), Alg. 3, unweighted over noise levels, with the policy
    itself as its target (Song & Dhariwal 2024, Section 3.2).

    Args:
      policy: the policy.
      observation: shape `[M, O]`.
      actions: shape `[M, A]`.
      weights: of the rows, of any sign. Shape `[M]`.
      num_noise_levels: of the Karras grid.
      generator: of noise and levels.

    Returns:
      Shape `[]`.
    """
    zeros = actions.new_zeros(len(actions), 1)
    batch = ReferenceSet(
        observation=observation,
        actions=actions.unsqueeze(1),
        log_probs=zeros,
        log_proposals=zeros,
        value=zeros[:, 0],
        policy_value=zeros[:, 0],
        policy_version=0,
    )
    objective = ConsistencyObjective(
        single_sample, _weighted(karras_pairs(num_noise_levels, 1), weights), is_self_target=True
    )
    return objective(policy, policy, batch, update=0, generator=generator)


def _weighted(sampler: PairSampler, weights: Tensor) -> PairSampler:
    def sample(
        shape: tuple[int, ...], update: int, sigma_min: float, sigma_max: float, generator: torch.Generator
    ) -> NoisePairs:
        pairs = sampler(shape, update, sigma_min, sigma_max, generator)
        return pairs._replace(weight=pairs.weight * weights.unsqueeze(1))

    return sample
