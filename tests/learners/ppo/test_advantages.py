"""How advantages become weights."""

import numpy as np
import pytest
import torch
from scipy import optimize

from learners.ppo.advantages import advantage_weights


@pytest.fixture
def advantages():
    return torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_exponential_weights_meet_the_divergence(advantages):
    """Against a temperature found by scipy."""
    values = advantages.numpy()

    def kl(log_eta):
        weights = np.exp((values - values.max()) / np.exp(log_eta))
        weights /= weights.sum()
        return float((weights * np.log(len(values) * np.maximum(weights, 1e-300))).sum()) - 0.7

    eta = np.exp(optimize.brentq(kl, -5.0, 5.0))
    expected = np.exp(values / eta)
    weights = advantage_weights(advantages, "exponential", 0.7)
    np.testing.assert_allclose(weights.numpy(), 64 * expected / expected.sum(), rtol=1e-5)


def test_exponential_weights_do_not_depend_on_the_scale_of_advantages(advantages):
    """Nor on a constant added to them."""
    torch.testing.assert_close(
        advantage_weights(100.0 * advantages + 3.0, "exponential", 0.5),
        advantage_weights(advantages, "exponential", 0.5),
    )


@pytest.mark.parametrize("kind", ["exponential", "clamp"])
def test_bounded_weights_are_not_negative(advantages, kind):
    """The loss that they weigh stays bounded below."""
    assert float(advantage_weights(advantages, kind, 0.5).min()) >= 0.0


def test_clamp_and_linear_keep_positive_advantages(advantages):
    """They differ where an advantage is negative, and only there."""
    clamped, linear = (advantage_weights(advantages, kind, 0.5) for kind in ("clamp", "linear"))
    assert torch.equal(linear, advantages)
    assert torch.equal(clamped, torch.where(advantages > 0.0, advantages, 0.0))


def test_unknown_kind_is_refused(advantages):
    """Naming the nearest."""
    with pytest.raises(ValueError, match="must be one of clamp, exponential, linear"):
        advantage_weights(advantages, "exponental", 0.5)
