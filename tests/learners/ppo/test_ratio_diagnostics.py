"""Statistics of likelihood ratios."""

import math

import pytest
import torch

from learners.ppo.diagnostics import mean_statistics, ratio_statistics


def test_statistics_of_a_hand_worked_batch():
    """Ratios 1/2, 1, 1, 4 with a clip of 0.2."""
    ratio = torch.tensor([0.5, 1.0, 1.0, 4.0])
    statistics = ratio_statistics(ratio.log(), 0.2)
    assert float(statistics["ratio_mean"]) == pytest.approx(6.5 / 4)
    assert float(statistics["ratio_q50"]) == pytest.approx(1.0)
    assert float(statistics["clip_fraction"]) == pytest.approx(0.5)
    assert float(statistics["effective_sample_size"]) == pytest.approx(6.5**2 / (18.25 * 4))
    kl = ((0.5 - 1 - math.log(0.5)) + (4 - 1 - math.log(4))) / 4
    assert float(statistics["kl"]) == pytest.approx(kl, rel=1e-5)


def test_kl_estimates_the_divergence():
    """Of two Gaussians, from draws of the old one."""
    old, new = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.2, 1.1)
    torch.manual_seed(0)
    drawn = old.sample((200_000,))
    statistics = ratio_statistics(new.log_prob(drawn) - old.log_prob(drawn), 0.2)
    expected = float(torch.distributions.kl_divergence(old, new))
    assert float(statistics["kl"]) == pytest.approx(expected, rel=0.03)


def test_large_ratios_do_not_overflow():
    """One action that holds all the mass has an effective sample size of one action."""
    statistics = ratio_statistics(torch.tensor([80.0, 0.0, 0.0, 0.0]), 0.2)
    assert float(statistics["effective_sample_size"]) == pytest.approx(0.25)


def test_means_are_over_the_updates_that_have_a_statistic():
    """Not all have the same ones."""
    rows = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0), "b": torch.tensor(5.0)}]
    assert mean_statistics(rows) == {"a": 2.0, "b": 5.0}
