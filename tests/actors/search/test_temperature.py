import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from actors.search.temperature import (
    boltzmann_log_weights,
    effective_sample_size,
    kl_divergence,
    solve_temperature,
    solve_temperature_by_ess,
)


def _weights(q_values, target_kl, log_prior=None):
    temperature = solve_temperature(q_values, target_kl, log_prior=log_prior)
    return boltzmann_log_weights(q_values, temperature, log_prior=log_prior)


def _slow_kl(eta, q_values, prior):
    unnormalised = [p * np.exp((q - max(q_values)) / eta) for p, q in zip(prior, q_values)]
    weights = [u / sum(unnormalised) for u in unnormalised]
    return sum(w * np.log(w / p) for w, p in zip(weights, prior) if w > 0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("has_prior", [False, True])
def test_temperature_agrees_with_brentq(scale, has_prior):
    """Each state's temperature is the root that scipy finds for that state alone, at any reward scale."""
    generator = np.random.default_rng(0)
    q_values = scale * generator.standard_normal((12, 16))
    prior = generator.dirichlet(np.full(16, 3.0), 12) if has_prior else np.full((12, 16), 1 / 16)
    solved = solve_temperature(q_values, 1.2, log_prior=np.log(prior) + 2000.0 if has_prior else None)
    for row in range(12):
        expected = brentq(
            lambda eta, row=row: _slow_kl(eta, q_values[row], prior[row]) - 1.2,
            1e-4 * scale,
            1e3 * scale,
            xtol=1e-14 * scale,
        )
        np.testing.assert_allclose(solved[row], expected, rtol=1e-8)


@pytest.mark.parametrize("target", [0.05, 0.7, 1.5, 2.3])
def test_divergence_that_rises_in_steps_crosses_the_target(target):
    """Values that lie decades apart leave plateaus, on which a step of Newton's leads astray."""
    generator = np.random.default_rng(4)
    q_values = -np.cumsum(10.0 ** generator.uniform(-2, 3, (40, 12)), axis=1)
    solved = solve_temperature(q_values, target)
    uniform = np.full(12, 1 / 12)
    for eta, row in zip(solved, q_values, strict=True):
        assert _slow_kl(eta * (1 + 1e-5), row, uniform) <= target + 1e-9
        assert _slow_kl(eta * (1 - 1e-5), row, uniform) >= target - 1e-9


def test_divergence_meets_the_target():
    """The weights' divergence from the prior is the target to numerical precision."""
    generator = np.random.default_rng(1)
    q_values = generator.standard_normal((256, 16))
    log_prior = np.log(generator.dirichlet(np.ones(16) * 5, 256))
    np.testing.assert_allclose(kl_divergence(_weights(q_values, 2.0)), 2.0, atol=1e-9)
    log_weights = _weights(q_values, 0.7, log_prior)
    np.testing.assert_allclose(kl_divergence(log_weights, log_prior), 0.7, atol=1e-9)
    np.testing.assert_allclose(np.exp(log_weights).sum(axis=1), 1.0, atol=1e-12)


def test_temperature_minimises_the_mpo_dual():
    """The temperature is the minimiser of `eta * target + eta * log mean exp(Q / eta)`."""
    q_values = np.random.default_rng(2).standard_normal((5, 16))
    solved = solve_temperature(q_values, 0.5)
    for row in range(5):

        def dual(log_eta, q=q_values[row]):
            eta = np.exp(log_eta)
            return eta * 0.5 + eta * np.log(np.mean(np.exp((q - q.max()) / eta))) + q.max()

        found = minimize_scalar(dual, bounds=(-5.0, 5.0), method="bounded", options={"xatol": 1e-10})
        np.testing.assert_allclose(np.log(solved[row]), found.x, atol=1e-5)


def test_weights_agree_with_the_analytic_gaussian_posterior():
    """For prior N(0, s), Q = -(a - 1)^2 / 2 the improved policy is the Gaussian of the completed square.

    With precision `1/s^2 + 1/eta`, and a target equal to its divergence from the prior, eta comes back.
    """
    prior_std, eta = 0.5, 0.5
    precision = 1 / prior_std**2 + 1 / eta
    mean, std = (1 / eta) / precision, precision**-0.5
    target = np.log(prior_std / std) + (std**2 + mean**2) / (2 * prior_std**2) - 0.5
    actions = np.linspace(-5.0, 5.0, 4001)[None]
    log_prior = -0.5 * np.square(actions / prior_std)
    q_values = -0.5 * np.square(actions - 1.0)
    np.testing.assert_allclose(solve_temperature(q_values, target, log_prior=log_prior), eta, rtol=1e-6)
    weights = np.exp(_weights(q_values, target, log_prior))
    np.testing.assert_allclose((weights * actions).sum(), mean, atol=1e-6)
    np.testing.assert_allclose((weights * np.square(actions - mean)).sum(), std**2, atol=1e-6)


def test_constant_values_give_the_prior():
    """Where all values are the same there is nothing to choose: the weights are the prior."""
    prior = np.array([[0.5, 0.25, 0.25]])
    np.testing.assert_allclose(np.exp(_weights(np.full((1, 3), 7.0), 0.3)), 1 / 3)
    np.testing.assert_allclose(np.exp(_weights(np.full((1, 3), 7.0), 0.3, np.log(prior))), prior)
    assert np.isinf(solve_temperature(np.full((1, 3), 7.0), 0.3)).all()
    rounded = 7.0 + np.array([[0.0, 1e-15, -1e-15]])
    np.testing.assert_allclose(np.exp(_weights(rounded, 0.3)), 1 / 3)
    assert np.exp(_weights(1e-9 * np.array([[0.0, 1.0, 2.0]]), 0.3)).max() > 0.6


def test_unreachable_target_is_greedy():
    """A target of log N and more puts all mass on the best candidate, shared among ties."""
    q_values = np.array([[0.0, 1.0, 0.999, 0.5], [2.0, 1.0, 2.0, 0.0]])
    weights = np.exp(_weights(q_values, 5.0))
    np.testing.assert_allclose(weights, [[0, 1, 0, 0], [0.5, 0, 0.5, 0]], atol=1e-12)


def test_masked_candidates_get_no_mass():
    """Non-finite values get no mass, and the others the weights they would have alone."""
    q_values = np.array([[0.3, np.nan, 1.0, -np.inf, 0.2, np.inf]])
    valid = [0, 2, 4]
    log_weights = _weights(q_values, 0.4)
    np.testing.assert_array_equal(np.exp(log_weights[0, [1, 3, 5]]), 0.0)
    np.testing.assert_allclose(log_weights[:, valid], _weights(q_values[:, valid], 0.4), atol=1e-9)


def test_state_without_a_sound_candidate_gives_the_prior():
    """A row of NaN gives finite weights (the prior) and does not disturb its neighbours."""
    q_values = np.array([[np.nan, np.nan], [0.0, 1.0]])
    log_weights = _weights(q_values, 0.3)
    np.testing.assert_allclose(np.exp(log_weights[0]), 0.5)
    np.testing.assert_allclose(log_weights[1:], _weights(q_values[1:], 0.3))


def test_effective_sample_size_by_hand():
    """Uniform weights count fully, one-hot weights count one, (.5, .25, .25) counts 8/3."""
    with np.errstate(divide="ignore"):
        log_weights = np.log([[1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0], [0.5, 0.25, 0.25]])
    np.testing.assert_allclose(effective_sample_size(log_weights), [3.0, 1.0, 8 / 3])


def test_kl_divergence_by_hand():
    """KL((.5, .5, 0) || uniform over 3) = log(3/2), and zero mass adds nothing."""
    with np.errstate(divide="ignore"):
        log_weights = np.log([0.5, 0.5, 0.0])
    np.testing.assert_allclose(kl_divergence(log_weights), np.log(1.5))
    np.testing.assert_allclose(
        kl_divergence(log_weights, np.log([0.25, 0.5, 0.25])), 0.5 * np.log(2.0), atol=1e-12
    )


def test_bad_arguments_are_named():
    """Wrong targets and shapes are refused by name."""
    with pytest.raises(ValueError, match="`target_kl` must be positive, got 0"):
        solve_temperature(np.zeros((1, 2)), 0.0)
    with pytest.raises(ValueError, match="`q_values` must have shape"):
        solve_temperature(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="`temperature` must have shape"):
        boltzmann_log_weights(np.zeros((1, 2)), np.ones(2))


@pytest.mark.parametrize("target_ess", [1.5, 4.0, 9.0])
def test_effective_sample_size_meets_its_target(target_ess):
    """Over a uniform prior it is the one by hand; a masked candidate takes no part."""
    q_values = np.random.default_rng(3).standard_normal((64, 16))
    q_values[:, 5] = np.nan
    temperature = solve_temperature_by_ess(q_values, target_ess)
    found = effective_sample_size(boltzmann_log_weights(q_values, temperature))
    np.testing.assert_allclose(found, target_ess, rtol=1e-8)


def test_effective_sample_size_counts_draws_of_the_prior():
    """With a prior it is Kish's of the weights `p / prior`, and the prior itself has all `N`."""
    generator = np.random.default_rng(4)
    q_values = generator.standard_normal((8, 6))
    prior = generator.dirichlet(np.full(6, 4.0), 8)
    temperature = solve_temperature_by_ess(q_values, 3.0, log_prior=np.log(prior) - 7.0)
    weights = np.exp(boltzmann_log_weights(q_values, temperature, log_prior=np.log(prior)))
    np.testing.assert_allclose(6.0 / (weights**2 / prior).sum(axis=1), 3.0, rtol=1e-8)
    assert (solve_temperature_by_ess(q_values, 6.5, log_prior=np.log(prior)) > 1e6).all()


def test_a_shared_temperature_meets_the_target_in_the_mean():
    """One temperature for all: states that differ more in value change more."""
    q_values = np.random.default_rng(5).standard_normal((32, 16)) * np.linspace(0.1, 3.0, 32)[:, None]
    q_values[0] = 1.0
    temperature = solve_temperature(q_values, 0.5, is_shared=True)
    assert (temperature == temperature[0]).all()
    kl = kl_divergence(boltzmann_log_weights(q_values, temperature))
    np.testing.assert_allclose(kl.mean(), 0.5, rtol=1e-8)
    assert kl[0] == 0.0 and kl[-5:].min() > kl[:5].max()


def test_an_impossible_sample_size_is_refused():
    """Nothing has fewer than one sample."""
    with pytest.raises(ValueError, match="`target_ess` must be at least 1"):
        solve_temperature_by_ess(np.zeros((1, 3)), 0.5)
