import numpy as np
import pytest
from scipy import stats

from actors.search.tree.candidates import BOUNDS, policy_candidates, tempered_candidates


class TwoPoints:
    """Samples are -0.2 or 0.2; the zero-noise action is 0."""

    def act(self, observation, noise_scale, generator):
        sign = np.where(generator.random((len(observation), 1)) < 0.5, -1.0, 1.0)
        return (0.2 * noise_scale * sign).astype(np.float32)


OBSERVATION = np.zeros((1, 3), np.float32)


def test_policy_candidates_are_the_mode_and_samples():
    """All are equally probable."""
    actions, logits = policy_candidates(
        TwoPoints(), np.zeros((5, 3), np.float32), 4, np.random.default_rng(0)
    )
    assert (actions[:, 0] == 0.0).all() and set(np.unique(np.abs(actions[:, 1:]))) == {np.float32(0.2)}
    np.testing.assert_array_equal(logits, np.zeros((5, 4)))


def _integral(function, scale):
    """Integrates against the density of the policy's kernels, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    density = np.mean(
        [stats.truncnorm.pdf(nodes, (-1 - m) / scale, (1 - m) / scale, m, scale) for m in (-0.2, 0.2)], axis=0
    )
    return (weights * density * function(nodes)).sum()


@pytest.mark.parametrize("num_actions", [1_024, 4_096])
def test_prior_makes_up_for_wider_proposals(num_actions):
    """Means under `p* ~ pi exp(Q / eta)` are those of quadrature; without the correction they are far off."""
    scale, q_value = 0.3, lambda a: np.exp(-((a - 1.0) ** 2) / 2 / 0.5)
    total = _integral(q_value, scale)
    mean = _integral(lambda a: a * q_value(a), scale) / total
    deviation = np.sqrt(_integral(lambda a: (a - mean) ** 2 * q_value(a), scale) / total)
    actions, logits = tempered_candidates(
        TwoPoints(),
        OBSERVATION,
        num_actions,
        np.random.default_rng(0),
        num_centres=256,
        scale=scale,
        temperature=9.0,
        tempered_fraction=0.75,
    )
    a = actions[0, :, 0].astype(np.float64)

    def moments(weights):
        weights = weights / weights.sum()
        found = (weights * a).sum()
        return found, np.sqrt((weights * (a - found) ** 2).sum())

    np.testing.assert_allclose(moments(np.exp(logits[0]) * q_value(a)), (mean, deviation), atol=0.03)
    assert abs(moments(q_value(a))[0] - mean) > 0.1


@pytest.mark.parametrize("bound", BOUNDS)
def test_prior_is_the_ratio_of_densities(bound):
    """Its mean over the proposals is one: `E_beta[pi / beta] = 1`, which a wrong mixture density breaks."""
    _, logits = tempered_candidates(
        TwoPoints(), OBSERVATION, 20_000, np.random.default_rng(1), num_centres=32, scale=0.2, bound=bound
    )
    ratio = np.exp(logits[0])
    assert ratio.mean() == pytest.approx(1.0, abs=5 * ratio.std() / np.sqrt(len(ratio)))
    assert ratio.max() <= 4.0 + 1e-6  # 1 / (1 - tempered_fraction): the mixture bounds it


def test_unknown_bound_is_named():
    """With the nearest one that there is."""
    with pytest.raises(ValueError, match="`bound` must be one of tanh, truncated; got 'trunc'"):
        tempered_candidates(TwoPoints(), OBSERVATION, 4, np.random.default_rng(0), bound="trunc")


def test_without_tempering_the_prior_is_flat():
    """Candidates drawn from the policy's own kernels need no correction."""
    for settings in ({"tempered_fraction": 0.0}, {"temperature": 1.0}):
        _, logits = tempered_candidates(TwoPoints(), OBSERVATION, 50, np.random.default_rng(2), **settings)
        np.testing.assert_allclose(logits, 0.0, atol=1e-12)
