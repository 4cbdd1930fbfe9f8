import math

import numpy as np
import pytest
import torch
from scipy import stats

from learners import posterior as lib


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random_reference(num_states: int = 3, num_candidates: int = 5, action_size: int = 2):
    generator = _generator()
    actions = torch.rand(num_states, num_candidates, action_size, generator=generator) * 2 - 1
    log_probs = torch.randn(num_states, num_candidates, generator=generator).log_softmax(-1)
    log_proposals = torch.randn(num_states, num_candidates, generator=generator)
    return actions, log_probs, log_proposals


def _estimate(name: str, reference, x_sigma, sigma, source=None, seed=0):
    source = torch.zeros_like(x_sigma) if source is None else source
    return lib.POSTERIORS[name](lib.NoisyReference(*reference, x_sigma, sigma, source, _generator(seed)))


@pytest.mark.parametrize("name", ["importance", "proposal_corrected"])
def test_weighted_means_match_a_slow_loop(name):
    """Eq. (1) and (2) term by term; the corrected rule divides each weight by q."""
    reference = _random_reference()
    x_sigma, sigma = torch.randn(3, 4, 2, generator=_generator(1)), torch.rand(3, 4) * 2 + 0.05
    estimate = _estimate(name, reference, x_sigma, sigma)
    actions, log_probs, log_proposals = (array.double().numpy() for array in reference)
    for b in range(3):
        for k in range(4):
            total, weighted = 0.0, np.zeros(2)
            for i in range(5):
                distance = sum((float(x_sigma[b, k, a]) - actions[b, i, a]) ** 2 for a in range(2))
                weight = math.exp(log_probs[b, i]) * math.exp(-distance / (2 * float(sigma[b, k]) ** 2))
                weight /= math.exp(log_proposals[b, i]) if name == "proposal_corrected" else 1.0
                total, weighted = total + weight, weighted + weight * actions[b, i]
            np.testing.assert_allclose(estimate[b, k].numpy(), weighted / total, rtol=1e-3, atol=1e-5)


def test_two_points_give_the_analytic_posterior():
    """For +-a with masses p, 1-p the mean is a tanh(a x / sigma^2 + logit(p) / 2)."""
    mass, point, sigma = 0.3, 0.6, 0.5
    reference = (
        torch.tensor([[[point], [-point]]]),
        torch.tensor([[mass, 1 - mass]]).log(),
        torch.zeros(1, 2),
    )
    x_sigma = torch.linspace(-2, 2, 9).reshape(1, 9, 1)
    expected = point * torch.tanh(point * x_sigma / sigma**2 + 0.5 * math.log(mass / (1 - mass)))
    for name in ("importance", "proposal_corrected"):
        torch.testing.assert_close(_estimate(name, reference, x_sigma, torch.full((1, 9), sigma)), expected)


def test_one_noise_axis_or_none_or_two_give_the_same():
    """Leading axes of x_sigma are free: [B, A], [B, K, A] and [B, K, L, A] agree."""
    reference = _random_reference()
    x_sigma, sigma = torch.randn(3, 2), torch.rand(3) + 0.1
    flat = _estimate("importance", reference, x_sigma, sigma)
    deep = _estimate("importance", reference, x_sigma.reshape(3, 1, 1, 2), sigma.reshape(3, 1, 1))
    assert flat.shape == (3, 2)
    torch.testing.assert_close(deep.reshape(3, 2), flat)


def test_corrected_converges_to_the_posterior_mean_and_the_papers_rule_to_that_of_p_squared():
    """With references from p* = N(0, s^2): s^2/(s^2+sigma^2) x against s^2/(s^2+2 sigma^2) x."""
    std, sigma, x_sigma = 0.5, 0.5, torch.tensor([[[0.8]]])
    normal = torch.distributions.Normal(0.0, std)
    actions = std * torch.randn(1, 200_000, 1, generator=_generator())
    log_density = normal.log_prob(actions).squeeze(-1)
    reference = (actions, log_density, log_density)
    level = torch.full((1, 1), sigma)
    true_mean = std**2 / (std**2 + sigma**2) * 0.8
    squared_mean = std**2 / (std**2 + 2 * sigma**2) * 0.8
    assert float(_estimate("proposal_corrected", reference, x_sigma, level)) == pytest.approx(
        true_mean, abs=5e-3
    )
    assert float(_estimate("importance", reference, x_sigma, level)) == pytest.approx(squared_mean, abs=5e-3)


def test_corrected_is_consistent_for_another_proposal():
    """References from a uniform q with weights p*/q give the posterior mean of p*."""
    std, sigma, x_sigma = 0.2, 0.3, torch.tensor([[[0.4]]])
    actions = torch.rand(1, 200_000, 1, generator=_generator()) * 4 - 2
    log_density = torch.distributions.Normal(0.0, std).log_prob(actions).squeeze(-1)
    reference = (actions, log_density, torch.full_like(log_density, math.log(0.25)))
    estimate = _estimate("proposal_corrected", reference, x_sigma, torch.full((1, 1), sigma))
    assert float(estimate) == pytest.approx(std**2 / (std**2 + sigma**2) * 0.4, abs=3e-3)


def test_gumbel_draws_candidates_with_the_posterior_weights():
    """Frequencies pass a chi-square test against p* times the kernel; proposals play no part."""
    actions, log_probs, log_proposals = (array[:1] for array in _random_reference())
    x_sigma, sigma = torch.tensor([[[0.2, -0.1]]]).expand(1, 20_000, 2), torch.full((1, 20_000), 0.8)
    drawn = _estimate("gumbel", (actions, log_probs, log_proposals), x_sigma, sigma)
    counts = [(drawn == actions[:, i : i + 1]).all(-1).sum().item() for i in range(5)]
    assert sum(counts) == 20_000
    weights = log_probs[0].exp() * torch.exp(-(actions[0] - x_sigma[0, 0]).square().sum(-1) / (2 * 0.8**2))
    expected = (weights / weights.sum()).double().numpy() * 20_000
    assert stats.chisquare(counts, expected * 20_000 / expected.sum()).pvalue > 1e-3


def test_sources_follow_the_weights_of_both_conventions():
    """Masses are drawn as they are; with q = p* the draw is uniform, as in the paper's algorithms."""
    actions, log_probs, _ = (array[:1] for array in _random_reference())
    for log_proposals, expected in (
        (torch.zeros_like(log_probs), log_probs[0].exp().double().numpy()),
        (log_probs, np.full(5, 0.2)),
    ):
        drawn = lib.sample_source(actions, log_probs, log_proposals, 20_000, _generator())
        counts = [(drawn == actions[:, i : i + 1]).all(-1).sum().item() for i in range(5)]
        assert stats.chisquare(counts, expected / expected.sum() * 20_000).pvalue > 1e-3


def test_single_sample_is_the_source():
    """Plain consistency training uses the clean action itself."""
    source = torch.randn(3, 4, 2)
    estimate = _estimate("single_sample", _random_reference(), torch.randn(3, 4, 2), torch.ones(3, 4), source)
    assert torch.equal(estimate, source)


@pytest.mark.parametrize("name", sorted(lib.POSTERIORS))
def test_candidates_of_no_mass_change_nothing(name):
    """A candidate with log_prob -inf is as good as absent, at the smallest level too."""
    actions, log_probs, log_proposals = _random_reference()
    log_probs[:, 2] = -math.inf
    keep = [0, 1, 3, 4]
    x_sigma = torch.randn(3, 4, 2, generator=_generator(2))
    for level in (0.002, 1.0, 80.0):
        sigma = torch.full((3, 4), level)
        with_it = _estimate(name, (actions, log_probs, log_proposals), x_sigma, sigma)
        assert bool(torch.isfinite(with_it).all())
        if name == "gumbel":
            assert not bool((with_it.unsqueeze(2) == actions[:, None, 2:3]).all(-1).any())
            continue
        reduced = (actions[:, keep], log_probs[:, keep], log_proposals[:, keep])
        torch.testing.assert_close(with_it, _estimate(name, reduced, x_sigma, sigma))


def test_limits_in_sigma():
    """At large sigma the mean under the weights; at small sigma the nearest candidate."""
    actions, log_probs, _ = reference = _random_reference()
    noise = torch.randn(3, 1, 2)
    wide = _estimate("importance", reference, 1e4 * noise, torch.full((3, 1), 1e4))
    torch.testing.assert_close(wide[:, 0], (log_probs.exp()[..., None] * actions).sum(1), rtol=0, atol=1e-3)
    near = actions[:, 3:4] + 0.002 * noise
    torch.testing.assert_close(
        _estimate("importance", reference, near, torch.full((3, 1), 0.002)), actions[:, 3:4]
    )


def test_log_effective_sample_size_of_known_weights():
    """It is log N for equal weights, 0 for one candidate, log(1/sum w^2) between, whatever the scale."""
    weights = torch.tensor([[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.5, 0.3, 0.2, 0.0]])
    expected = torch.tensor([math.log(4), 0.0, -math.log(0.25 + 0.09 + 0.04)])
    torch.testing.assert_close(lib.log_effective_sample_size(weights.log() + 5.0), expected)
