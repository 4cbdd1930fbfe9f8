"""Regression of the one-step map onto the end points of the reference set's own ODE."""

import dataclasses

import torch
from torch import Tensor

from distill_rl.types import ReferenceSet
from learners.config import CLOSED_FORM_POSTERIORS, DistillationConfig
from learners.objectives.base import Denoiser
from learners.objectives.one_step import partly_zero_noise, reference_log_weights, reference_means
from learners.posterior import NoisyReference, Posterior
from learners.reference_ode import reference_endpoints


@dataclasses.dataclass(frozen=True)
class EndpointObjective:
    """Regresses `D(sigma_max z, sigma_max, s)` onto where the ODE carries `sigma_max z`.

    The score of a finite set is known in closed form, so its probability-flow ODE is solved directly: no
    bootstrapping, no target network, no discretisation of the consistency condition. Only `sigma_max` is
    trained, which is all that one-step acting uses; multistep sampling is untrained.

    Attributes:
      is_corrected: weights p*/q (proposal corrected), or p* alone as in Fang & Di, Eq. (1).
      num_noises: noises for each state.
      num_ode_steps: evaluations of the posterior mean along the ODE.
      zero_noise_fraction: share of the states (the first ones of the batch) at which all noise is zero, and
        the target the mean of p*, not the end point: that is one candidate, which of several is chance.
      posterior: estimator to integrate in place of the closed form.
    """

    is_corrected: bool = True
    num_noises: int = 1
    num_ode_steps: int = 8
    zero_noise_fraction: float = 0.0
    posterior: Posterior | None = None

    @classmethod
    def from_config(cls, config: DistillationConfig, posterior: Posterior) -> "EndpointObjective":
        """Builds the objective from the fields of a configuration and the estimator that it names."""
        return cls(
            config.posterior == "proposal_corrected",
            config.num_noises,
            config.num_ode_steps,
            config.zero_noise_fraction,
            None if config.posterior in CLOSED_FORM_POSTERIORS else posterior,
        )

    def __call__(
        self,
        policy: Denoiser,
        target_policy: Denoiser,
        batch: ReferenceSet,
        *,
        update: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Computes the mean squared distance to the targets; see `Objective`. Shape `[]`."""
        del target_policy, update
        actions: Tensor = batch.actions
        noise, num_zero = partly_zero_noise(actions, self.num_noises, self.zero_noise_fraction, generator)
        log_weights = reference_log_weights(batch, self.is_corrected)
        targets = self._endpoints(policy, batch, log_weights, noise, generator)
        targets[:num_zero] = reference_means(actions[:num_zero], log_weights[:num_zero]).unsqueeze(1)
        predicted = policy.denoise(policy.sigma_max * noise, policy.sigma_max, batch.observation.unsqueeze(1))
        return (predicted - targets).square().sum(dim=-1).mean()

    @torch.no_grad()
    def _endpoints(
        self,
        policy: Denoiser,
        batch: ReferenceSet,
        log_weights: Tensor,
        noise: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Returns where the ODE carries `sigma_max * noise`. Shape `[B, K, A]`."""
        posterior = self.posterior
        reference = (batch.actions, batch.log_probs, batch.log_proposals)

        def denoise(x_sigma: Tensor, sigma: Tensor) -> Tensor:
            assert posterior is not None
            return posterior(NoisyReference(*reference, x_sigma, sigma, x_sigma, generator))

        return reference_endpoints(
            batch.actions,
            log_weights,
            noise,
            num_steps=self.num_ode_steps,
            sigma_min=policy.sigma_min,
            sigma_max=policy.sigma_max,
            denoise_fn=None if posterior is None else denoise,
        )
