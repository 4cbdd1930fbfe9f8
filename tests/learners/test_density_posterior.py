import pytest
import torch

from learners.density_posterior import DENSITY_POSTERIORS, make_posterior
from learners.laboratory.mixtures import TruncatedMixtures, random_mixtures
from learners.posterior import NoisyReference, proposal_corrected, sample_source

INSTANCES = 6


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _reference(target, num_candidates, seed=0):
    actions = target.sample(num_candidates, _generator(seed))
    log_probs = target.log_prob(actions)
    return actions, log_probs, log_probs.clone()


def _error(name, sigma, num_candidates, num_sets=40):
    """Mean squared error to the exact posterior mean, and its bias squared, over sets and noises."""
    target = random_mixtures([2] * INSTANCES, 2, _generator(9))
    fixed = target.sample(32, _generator(8))
    generator = _generator(7)
    x_sigma = fixed + sigma * torch.randn(fixed.shape, generator=generator, dtype=fixed.dtype)
    exact = target.denoise(x_sigma, sigma)
    level = torch.full(x_sigma.shape[:2], sigma, dtype=x_sigma.dtype)
    estimator = make_posterior(name, target, low=0.0, high=1.0, sigma_data=0.2)
    errors = torch.stack(
        [
            estimator(
                NoisyReference(*_reference(target, num_candidates, seed), x_sigma, level, fixed, generator)
            )
            - exact
            for seed in range(num_sets)
        ]
    )
    return float(errors.square().sum(-1).mean()), float(errors.mean(0).square().sum(-1).mean())


@pytest.mark.parametrize("sigma", [0.05, 0.1])
@pytest.mark.parametrize("name", ["stein", "defensive_mixture"])
def test_density_lowers_the_error(name, sigma):
    """At small noise, knowing the density beats the candidates' weights alone by far."""
    plain, _ = _error("proposal_corrected", sigma, 64)
    better, _ = _error(name, sigma, 64)
    assert better < 0.5 * plain


@pytest.mark.parametrize("name", ["stein", "defensive_mixture"])
def test_bias_vanishes_with_the_number_of_candidates(name):
    """Error and bias fall towards zero: nothing is left at the edges of the box."""
    few, _ = _error(name, 0.2, 32)
    many, bias = _error(name, 0.2, 1024, num_sets=10)
    assert many < 0.1 * few
    assert bias < 0.5 * many


def test_control_variate_has_no_variance_for_a_gaussian():
    """Where p* is a Gaussian of the assumed spread, one source gives the exact posterior mean."""
    wide = TruncatedMixtures(  # a box that ends ten standard deviations away is no box
        torch.full((1, 1, 2), 0.5, dtype=torch.float64),
        torch.full((1, 1, 2), 0.05, dtype=torch.float64),
        torch.ones((1, 1), dtype=torch.float64),
    )
    source = wide.sample(20, _generator())
    for sigma in (0.01, 0.05, 1.0):
        x_sigma = source + sigma * torch.randn(source.shape, generator=_generator(1), dtype=source.dtype)
        level = torch.full((1, 20), sigma, dtype=source.dtype)
        estimator = make_posterior("control_variate", wide, sigma_data=0.05)
        found = estimator(NoisyReference(*_reference(wide, 4), x_sigma, level, source, _generator()))
        torch.testing.assert_close(found, 0.5 + (x_sigma - 0.5) * 0.0025 / (0.0025 + sigma**2))


def test_stein_keeps_the_only_candidate():
    """With one candidate there is nothing to regress on: the estimate is that candidate."""
    target = random_mixtures([2] * INSTANCES, 2, _generator())
    reference = _reference(target, 1)
    x_sigma = reference[0] + 0.1
    level = torch.full((INSTANCES, 1), 0.3, dtype=x_sigma.dtype)
    estimator = make_posterior("stein", target, low=0.0, high=1.0)
    found = estimator(NoisyReference(*reference, x_sigma, level, x_sigma, _generator()))
    torch.testing.assert_close(found, reference[0])


@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
@pytest.mark.parametrize("name", DENSITY_POSTERIORS)
def test_every_noise_level_gives_finite_estimates(name, sigma):
    """From the smallest to the largest noise level nothing overflows."""
    target = random_mixtures([3] * INSTANCES, 2, _generator())
    reference = _reference(target, 16)
    source = sample_source(*reference, 8, _generator(1))
    x_sigma = source + sigma * torch.randn(source.shape, generator=_generator(2), dtype=source.dtype)
    level = torch.full(x_sigma.shape[:2], sigma, dtype=x_sigma.dtype)
    estimator = make_posterior(name, target, low=0.0, high=1.0)
    found = estimator(NoisyReference(*reference, x_sigma, level, source, _generator(3)))
    assert torch.isfinite(found).all() and found.shape == x_sigma.shape


@pytest.mark.parametrize("name", DENSITY_POSTERIORS)
def test_a_missing_target_is_named(name):
    """An estimator that calls the density says so if there is none."""
    with pytest.raises(ValueError, match=f"`target` must be given for '{name}'"):
        make_posterior(name)


def test_unknown_estimators_are_named():
    """A typo names the nearest estimator."""
    with pytest.raises(ValueError, match="did you mean 'stein'"):
        make_posterior("stien")


def test_plain_estimators_need_no_target():
    """The estimators of reference sets alone come as they are."""
    assert make_posterior("proposal_corrected") is proposal_corrected


def test_defensive_mixture_refuses_other_proposals():
    """Candidates of a proposal that is not p*, such as those of a search, cannot be served."""
    target = random_mixtures([2], 2, _generator())
    actions, log_probs, _ = _reference(target, 4)
    estimator = make_posterior("defensive_mixture", target, low=0.0, high=1.0)
    with pytest.raises(ValueError, match="`log_proposals` must equal log_probs"):
        estimator(
            NoisyReference(
                actions,
                log_probs,
                torch.zeros_like(log_probs),
                actions,
                torch.ones(1, 4, dtype=actions.dtype),
                actions,
                _generator(),
            )
        )
