import pytest
import torch

from learners.laboratory.evaluation import (
    EvaluationSize,
    evaluate_likelihood,
    evaluate_samples,
    generate_samples,
    one_step_samples,
)
from learners.laboratory.experiment import Experiment, ReferenceSource

SIZE = EvaluationSize(num_samples=400, num_points=100, num_states=3)


class _Exact:
    """The targets themselves in place of an ensemble: the exact denoiser, and exact samples in one step."""

    num_members, sigma_min, sigma_max = 2, 0.002, 80.0

    def __init__(self, source, generator=None):
        self._source, self._generator = source, generator

    def denoise(self, x_sigma, sigma, observation):
        targets = self._source.targets_at(observation[:, 0]).to(torch.float64, "cpu")
        return targets.denoise(x_sigma.double(), sigma).to(x_sigma.dtype)

    def one_step(self, observation, noise):
        return self._source.targets_at(observation[:, 0]).sample(noise.shape[1], self._generator)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _source(data="fixed"):
    return ReferenceSource(Experiment(data=data, num_instances=2, num_seeds=1, batch_size=4))


@pytest.mark.parametrize("data", ["fixed", "conditioned"])
def test_exact_samples_are_at_the_floor(data):
    """A perfect policy gets what the floor says, at every state."""
    source = _source(data)
    found = evaluate_samples(_Exact(source, _generator(9)), source, SIZE, _generator())
    assert all(values.shape == (2,) for values in found.values())
    for name in ("energy_distance", "mmd"):
        assert bool((found[name] < 2.5 * found[f"{name}_floor"]).all())


def test_samples_have_the_shape_of_the_states():
    """Conditioned targets are sampled at each state of each member."""
    source = _source("conditioned")
    samples = one_step_samples(_Exact(source, _generator(9)), source, SIZE, _generator())
    assert samples.shape == (6, 400, 2)


def test_ode_of_the_exact_denoiser_draws_from_the_targets():
    """Its samples have the targets' means, and start anywhere the same."""
    source = _source()
    exact = _Exact(source)
    targets = source.targets_at(source.evaluation_states(1))
    truth = targets.sample(4000, _generator(3)).mean(dim=1)
    for start in (0.0, torch.full((2, 400, 2), 0.5)):
        samples = generate_samples(exact, source, SIZE, _generator(), start)
        assert samples.shape == (2, 400, 2)
        torch.testing.assert_close(samples.mean(dim=1), truth, atol=0.05, rtol=0.0)


def test_exact_denoiser_has_small_errors_everywhere():
    """All five figures are near zero but for actions within a few sigma_min of the edges of the box."""
    source = _source()
    found = evaluate_likelihood(_Exact(source), source, SIZE, _generator())
    assert set(found) == {
        "log_prob_mse",
        "log_prob_mae_difference",
        "score_mae",
        "fresh_log_prob_mse",
        "kl",
    }
    assert found["kl"].abs().max() < 0.1 and found["fresh_log_prob_mse"].max() < 0.1
    assert found["log_prob_mae_difference"].max() < 0.1
    assert found["score_mae"].max() < 0.5  # float32 over sigma_min^2
