import math

import pytest
import torch

from distill_rl.networks.discrete_regression import SymlogHistogram, symexp, symlog
from distill_rl.networks.value import ValueNetwork


def _scalars() -> torch.Tensor:
    positive = torch.logspace(-6, 4, 3000)
    return torch.cat([-positive, torch.zeros(1), positive])


def test_symexp_inverts_symlog():
    """A round trip gives the scalar back, at every size and sign."""
    torch.testing.assert_close(symexp(symlog(_scalars())), _scalars(), rtol=1e-5, atol=1e-9)


def test_decoding_an_encoding_gives_the_scalar_back():
    """Within 1e-3 of its size over [-1e4, 1e4]."""
    histogram, value = SymlogHistogram(), _scalars()
    decoded = histogram.decode(histogram.encode(value).log())
    assert bool(((decoded - value).abs() <= 1e-3 * value.abs() + 1e-5).all())


def test_encoding_is_a_distribution_and_matches_the_gaussian_integral():
    """The mass of a bin is the difference of the normal CDF at its edges, and they sum to one."""
    histogram = SymlogHistogram()
    probabilities = histogram.encode(_scalars())
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(_scalars())), rtol=0, atol=1e-5)
    width = float(histogram.edges[1] - histogram.edges[0])
    normal = torch.distributions.Normal(math.log1p(3.0), 0.75 * width)
    expected = normal.cdf(histogram.edges[1:]) - normal.cdf(histogram.edges[:-1])
    torch.testing.assert_close(histogram.encode(torch.tensor(3.0)), expected, rtol=1e-4, atol=1e-6)


def test_scalars_beyond_the_limit_are_clipped():
    """A target of 1e9 is encoded as the limit."""
    histogram = SymlogHistogram(limit=100.0)
    assert torch.equal(histogram.encode(torch.tensor(1e9)), histogram.encode(torch.tensor(100.0)))


def test_cross_entropy_is_least_at_the_target():
    """The loss of the target's own distribution is its entropy; any other prediction costs more."""
    histogram = SymlogHistogram()
    own = histogram.encode(torch.tensor(5.0))
    entropy = torch.special.entr(own).sum()
    target = torch.tensor(5.0)
    torch.testing.assert_close(histogram.cross_entropy(own.clamp_min(1e-30).log(), target), entropy)
    other = histogram.encode(torch.tensor(5.5)).clamp_min(1e-30).log()
    assert float(histogram.cross_entropy(other, target)) > float(entropy)


def test_too_few_bins_are_named():
    """The message says how many are needed."""
    with pytest.raises(ValueError, match="`num_bins` must exceed 8, got 5"):
        SymlogHistogram(num_bins=5)


def test_value_network_starts_at_zero_and_fits_values_of_two_scales():
    """A few hundred steps fit 0.5 and 200 at once, within 5 %."""
    torch.manual_seed(0)
    network = ValueNetwork(1, hidden_sizes=(32,))
    observation, target = torch.tensor([[-1.0], [1.0]]), torch.tensor([0.5, 200.0])
    torch.testing.assert_close(network.value(observation), torch.zeros(2), rtol=0, atol=1e-4)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        network.loss(observation, target).backward()
        optimizer.step()
    torch.testing.assert_close(network.value(observation), target, rtol=0.05, atol=0.0)
