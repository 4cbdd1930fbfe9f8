"""What a trained ensemble is judged by, member by member."""

import dataclasses

import torch
from torch import Tensor

from distill_rl.diffusion.samplers import integrate_probability_flow
from distill_rl.diffusion.schedules import karras_sigmas
from learners.laboratory.ensemble import Ensemble
from learners.laboratory.experiment import ReferenceSource
from learners.laboratory.metrics import energy_distance, log_prob_errors, score_mae, squared_mmd


@dataclasses.dataclass(frozen=True)
class EvaluationSize:
    """How much an evaluation draws.

    Attributes:
      num_samples: of each distribution whose samples are compared.
      num_points: actions at which log-densities are.
      num_states: states from 0 to 1 at which conditioned targets are compared.
      num_likelihood_steps: of the ODE that gives log-densities.
      num_sampling_levels: noise levels of the ODE that draws samples.
    """

    num_samples: int = 2000
    num_points: int = 256
    num_states: int = 8
    num_likelihood_steps: int = 48
    num_sampling_levels: int = 40


def one_step_samples(
    ensemble: Ensemble, source: ReferenceSource, size: EvaluationSize, generator: torch.Generator
) -> Tensor:
    """Draws by one network call, clipped to the range. Shape `[E * num_states, num_samples, A]`."""
    state = source.evaluation_states(size.num_states)
    shape = (len(state), size.num_samples, source.action_size)
    noise = torch.randn(shape, generator=generator, device=state.device)
    with torch.no_grad():
        return ensemble.one_step(state[:, None], noise).clamp(0.0, 1.0)


def generate_samples(
    ensemble: Ensemble,
    source: ReferenceSource,
    size: EvaluationSize,
    generator: torch.Generator,
    start: Tensor | float = 0.0,
) -> Tensor:
    """Draws by the ODE of a denoiser from `start + sigma_max z`, clipped; for targets without a state.

    Args:
      ensemble: the denoiser.
      source: of the targets.
      size: how many samples, and levels.
      generator: source of the noise.
      start: what noise is added to; a tensor `[E, M, A]` settles the number of samples.

    Returns:
      Shape `[E, num_samples, A]`.
    """
    members = source.evaluation_states(1)
    num_samples = start.shape[1] if isinstance(start, Tensor) else size.num_samples
    shape = (len(members), num_samples, source.action_size)
    noise = torch.randn(shape, generator=generator, device=members.device)
    grid = karras_sigmas(size.num_sampling_levels, ensemble.sigma_min, ensemble.sigma_max)
    with torch.no_grad():
        ends = integrate_probability_flow(
            lambda x, sigma: ensemble.denoise(x, sigma, members[:, None]),
            start + ensemble.sigma_max * noise,
            grid,
        )
    return ends.clamp(0.0, 1.0)


def evaluate_samples(
    ensemble: Ensemble, source: ReferenceSource, size: EvaluationSize, generator: torch.Generator
) -> dict[str, Tensor]:
    """Compares one-step samples with samples of the targets.

    Args:
      ensemble: the policy; samples are clipped to [0, 1], as an action would be.
      source: of the targets.
      size: how many samples.
      generator: source of the draws.

    Returns:
      `energy_distance` and `mmd`, and what exact samples get as `..._floor`. Shapes `[E]`.
    """
    targets = source.targets_at(source.evaluation_states(size.num_states))
    truth, other = (targets.sample(size.num_samples, generator) for _ in range(2))
    samples = one_step_samples(ensemble, source, size, generator)

    def of_members(statistic: Tensor) -> Tensor:
        return statistic.reshape(ensemble.num_members, -1).mean(dim=1)

    return {
        "energy_distance": of_members(energy_distance(samples, truth)),
        "energy_distance_floor": of_members(energy_distance(other, truth)),
        "mmd": of_members(squared_mmd(samples, truth)),
        "mmd_floor": of_members(squared_mmd(other, truth)),
    }


def evaluate_likelihood(
    ensemble: Ensemble, source: ReferenceSource, size: EvaluationSize, generator: torch.Generator
) -> dict[str, Tensor]:
    """Compares the log-densities of the ensemble's ODE with the targets'; targets depend on no state.

    The first three are Fang & Di's (Section 4), whose text leaves open:

    * where the true log-likelihood is taken: here at the action that the ODE ends at, clipped to the range;
    * what is subtracted in "LogP MAE Diff (samples - log_probs)": here the mean absolute errors at actions
      generated from `sigma_max z` and from `x_i + sigma_max z`, and the size of the difference counts;
    * at which noise levels scores are compared: here at all levels that training uses.

    Args:
      ensemble: the denoiser.
      source: of the targets and, for `fixed` data, of the reference actions.
      size: how many points.
      generator: source of the draws.

    Returns:
      `log_prob_mse`, `log_prob_mae_difference`, `score_mae`; and at fresh actions of the target
      `fresh_log_prob_mse` and `kl`, in nats. Shapes `[E]`.
    """
    targets, batch = source.draw(generator)
    members = source.evaluation_states(1)[:, None]
    levels = {"sigma_min": ensemble.sigma_min, "sigma_max": ensemble.sigma_max}

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return ensemble.denoise(x, sigma, members)

    fresh = targets.sample(size.num_points, generator)
    repeats = -(-size.num_points // batch.actions.shape[1])
    references = batch.actions.repeat(1, repeats, 1)[:, : size.num_points]
    # One pass of the ODE for all of them.
    starts = (references, torch.zeros_like(references))
    generated = [generate_samples(ensemble, source, size, generator, start) for start in starts]
    points = torch.cat([*generated, fresh], dim=1)
    of_references, of_samples, of_fresh = log_prob_errors(
        denoise, targets, points, **levels, num_steps=size.num_likelihood_steps
    ).split(size.num_points)
    return {
        "log_prob_mse": of_references.mse,
        "log_prob_mae_difference": (of_samples.mae - of_references.mae).abs(),
        "score_mae": score_mae(denoise, targets, fresh, karras_sigmas(10, **levels), generator),
        "fresh_log_prob_mse": of_fresh.mse,
        "kl": of_fresh.kl,
    }
