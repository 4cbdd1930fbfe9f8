import pytest
import torch

from distill_rl.networks.q_ensemble import QEnsemble


@pytest.fixture
def ensemble() -> QEnsemble:
    torch.manual_seed(0)
    ensemble = QEnsemble(3, 2, hidden_sizes=(8,), num_members=3)
    ensemble.normalizer.update(torch.randn(50, 3) * 4.0 + 1.0)
    return ensemble


def test_values_are_those_of_each_member(ensemble):
    """Row e is member e on the normalised observation, then the action."""
    observation, action = torch.randn(6, 3), torch.randn(6, 2)
    values = ensemble(observation, action)
    assert values.shape == (3, 6)
    normed = (observation - ensemble.normalizer.mean) / (ensemble.normalizer.var + 1e-6).sqrt()
    for value, member in zip(values, ensemble.members, strict=True):
        torch.testing.assert_close(value, member(torch.cat([normed, action], dim=-1)).squeeze(-1))


def test_members_are_independent(ensemble):
    """They start apart, and the gradient of one value reaches its own member alone."""
    values = ensemble(torch.randn(6, 3), torch.randn(6, 2))
    for one in range(3):
        assert not torch.allclose(values[one], values[one - 1], atol=1e-3)
        ensemble.zero_grad(set_to_none=True)
        values[one].sum().backward(retain_graph=True)
        for other, member in enumerate(ensemble.members):
            has_grad = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in member.parameters()]
            assert all(has_grad) if other == one else not any(has_grad)


@pytest.mark.parametrize("leading", [(), (1,), (5, 1), (5, 4)])
def test_leading_axes_of_observations_broadcast(ensemble, leading):
    """One observation for many actions gives what each pair gives alone."""
    observation, action = torch.randn(*leading, 3), torch.randn(5, 4, 2)
    values, each = ensemble(observation, action), observation.expand(5, 4, 3)
    assert values.shape == (3, 5, 4)
    for row in range(5):
        for column in range(4):
            alone = ensemble(each[row, column], action[row, column])
            torch.testing.assert_close(values[:, row, column], alone)


def test_ensemble_has_two_members_by_default():
    """Learning takes the minimum of two."""
    assert QEnsemble(3, 2, hidden_sizes=(4,))(torch.zeros(3), torch.zeros(2)).shape == (2,)


def test_ensemble_without_members_is_named():
    """The message names the argument and what came."""
    with pytest.raises(ValueError, match="`num_members` must be an integer of at least 1, got 0"):
        QEnsemble(3, 2, num_members=0)
