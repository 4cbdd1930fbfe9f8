import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch

from actors.search.temperature import improved_policy, kl_divergence
from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.policies.diffusion import DiffusionPolicy
from learners.offline.transitions import TransitionBatch
from learners.offline.values import (
    ascend_values,
    behaviour_candidates,
    boltzmann_log_weights,
    critic_loss,
    critic_reference_set,
    policy_gradient_loss,
    temporal_difference_targets,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(num_rows: int = 8) -> TransitionBatch:
    generator = _generator(1)
    return TransitionBatch(
        observation=torch.randn(num_rows, 3, generator=generator),
        action=torch.rand(num_rows, 2, generator=generator) * 2.0 - 1.0,
        reward=torch.randn(num_rows, generator=generator),
        next_observation=torch.randn(num_rows, 3, generator=generator),
        is_terminal=(torch.arange(num_rows) % 3 == 0).float(),
    )


class _Policy:
    """Draws uniform actions, and keeps what it drew them for."""

    def sample(self, observation, num_steps=1, noise_scale=1.0, generator=None):
        self.observation, self.num_steps, self.noise_scale = observation, num_steps, noise_scale
        self.actions = torch.rand(*observation.shape[:-1], 2, generator=generator) * 2.0 - 1.0
        return self.actions


def _critic(observation, action):
    """Two members whose order differs from action to action."""
    one = (observation[..., :2] * action).sum(dim=-1)
    other = observation[..., 2] - 3.0 * action[..., 0] * action[..., 1]
    return torch.stack([one, other])


def _targets(batch, policy, num_actions=1, is_normalized=False, discount=0.9):
    return temporal_difference_targets(
        batch,
        policy,
        _critic,
        discount=discount,
        num_steps=3,
        num_actions=num_actions,
        is_normalized=is_normalized,
        generator=_generator(),
    )


@pytest.mark.parametrize("num_actions", [1, 4])
def test_targets_are_those_of_the_loop(num_actions):
    """`r + discount min_i max_k Q_i(s', a_k)`, without the second term where the episode ended."""
    batch, policy = _batch(), _Policy()
    found = _targets(batch, policy, num_actions)
    assert policy.actions.shape == (8, num_actions, 2)
    assert (policy.num_steps, policy.noise_scale) == (3, 1.0)
    differ = 0
    for row in range(8):
        best = [-math.inf, -math.inf]
        for action in policy.actions[row]:
            values = _critic(batch.next_observation[row], action)
            best = [max(old, float(value)) for old, value in zip(best, values, strict=True)]
        best_of_min = max(float(_critic(batch.next_observation[row], a).min()) for a in policy.actions[row])
        differ += min(best) != pytest.approx(best_of_min)
        expected = float(batch.reward[row])
        if batch.is_terminal[row] == 0.0:
            expected += 0.9 * min(best)
        assert float(found[row]) == pytest.approx(expected, abs=1e-5)
    assert differ > 0 or num_actions == 1  # the order of minimum and maximum matters


def test_normalized_targets_have_unit_deviation():
    """Divided by their standard deviation, not centred; equal ones stay finite."""
    batch = _batch(50)
    plain, normalized = _targets(batch, _Policy(), 2), _targets(batch, _Policy(), 2, True)
    deviation = math.sqrt(sum((float(t) - float(plain.mean())) ** 2 for t in plain) / 49)
    torch.testing.assert_close(normalized * deviation, plain)
    equal = TransitionBatch(**{**vars(batch), "reward": torch.ones(50), "is_terminal": torch.ones(50)})
    assert bool(torch.isfinite(_targets(equal, _Policy(), 2, True)).all())


def test_targets_are_constants():
    """No gradient reaches the averaged policy or critic through them."""
    critic, policy = QEnsemble(3, 2, hidden_sizes=(8,)), DiffusionPolicy(3, 2, hidden_sizes=(8,))
    targets = temporal_difference_targets(
        _batch(),
        policy,
        critic,
        discount=0.9,
        num_steps=1,
        num_actions=2,
        is_normalized=False,
        generator=_generator(),
    )
    assert not targets.requires_grad


def test_critic_loss_is_the_sum_of_each_members_mean_square():
    """Hand-worked: errors 1, 3 and 2, 0 over a batch of two."""

    def critic(observation, action):
        return torch.tensor([[1.0, 5.0], [2.0, 2.0]])

    loss = critic_loss(critic, _batch(2), torch.tensor([0.0, 2.0]))
    assert float(loss) == pytest.approx((1.0 + 9.0) / 2 + (4.0 + 0.0) / 2)


def test_policy_gradient_loss_divides_one_members_mean_by_the_other_ones_size():
    """Both orders come, about equally often, and only the numerator has a gradient."""
    values = [[1.0, -2.0, 4.0], [-6.0, 2.0, 1.0]]  # means 1 and -1, mean sizes 7 / 3 and 3
    expected = {0: -1.0 / 3.0, 1: 1.0 / (7.0 / 3.0)}
    generator, seen = _generator(), []
    for _ in range(200):
        q_values = torch.tensor(values, requires_grad=True)
        loss = policy_gradient_loss(q_values, generator)
        first = min(expected, key=lambda member: abs(expected[member] - loss.item()))
        assert loss.item() == pytest.approx(expected[first], rel=1e-5)
        loss.backward()
        gradient = torch.zeros(2, 3)
        gradient[first] = -1.0 / 3.0 / abs(np.mean(np.abs(values[1 - first])))
        torch.testing.assert_close(q_values.grad, gradient)
        seen.append(first)
    assert 70 < sum(seen) < 130


def test_policy_gradient_loss_of_vanishing_values_is_finite():
    """A critic that knows nothing yet divides by no zero."""
    assert float(policy_gradient_loss(torch.zeros(2, 4), _generator())) == 0.0


@pytest.mark.parametrize("target_kl", [0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_weights_have_one_temperature_and_their_mean_divergence(scale, target_kl):
    """That of a root finder of float64 over all states together; states that differ more diverge more."""
    values = np.random.default_rng(0).normal(size=(20, 16)) * scale * np.linspace(0.1, 2.0, 20)[:, None]
    found = boltzmann_log_weights(torch.tensor(values, dtype=torch.float32), target_kl).double().numpy()

    def log_weights(eta):
        return scipy.special.log_softmax(values / eta, axis=-1)

    eta = scipy.optimize.brentq(
        lambda eta: kl_divergence(log_weights(eta)).mean() - target_kl, 1e-3 * scale, 1e3 * scale
    )
    np.testing.assert_allclose(np.exp(found), np.exp(log_weights(eta)), atol=2e-4)
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1.0, atol=1e-5)
    assert kl_divergence(found).mean() == pytest.approx(target_kl, abs=1e-3)
    assert kl_divergence(found)[-1] > kl_divergence(found)[0]


def test_one_state_has_the_weights_of_the_search():
    """Those of `actors.search.temperature`, which is of numpy and float64."""
    for values in np.random.default_rng(0).normal(size=(5, 1, 16)):
        found = boltzmann_log_weights(torch.tensor(values, dtype=torch.float32), 0.7).exp()
        expected, _ = improved_policy(values, target_kl=0.7)
        np.testing.assert_allclose(found, np.exp(expected), atol=2e-4)


def test_equal_values_give_uniform_weights():
    """No temperature makes them diverge, and the order of a tie is not made up."""
    for value in (0.0, -7.5, 1e6):
        found = boltzmann_log_weights(torch.full((3, 8), value), 1.0)
        torch.testing.assert_close(found, torch.full((3, 8), -math.log(8)))


def test_a_target_out_of_reach_gives_the_best_candidate():
    """The divergence from uniform is at most `log N`; equally good ones share."""
    q_values = torch.tensor([[1.0, 2.0, 3.0, 0.0], [5.0, 1.0, 5.0, 0.0]])
    found = boltzmann_log_weights(q_values, math.log(4) + 0.1).exp()
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.5, 0.0, 0.5, 0.0]]))


def test_values_of_one_candidate_have_one_weight():
    """There is nothing to choose from."""
    torch.testing.assert_close(boltzmann_log_weights(torch.tensor([[3.0], [-1.0]]), 1.0), torch.zeros(2, 1))


@pytest.fixture
def models() -> tuple[DiffusionPolicy, QEnsemble]:
    torch.manual_seed(0)
    return DiffusionPolicy(3, 2, hidden_sizes=(8,), num_diffusion_steps=3), QEnsemble(3, 2, hidden_sizes=(8,))


def test_candidates_are_the_taken_action_and_draws_of_the_model(models):
    """In this order; of a single one the model draws nothing."""
    behaviour, _ = models
    batch = _batch()
    found = behaviour_candidates(batch.observation, batch.action, behaviour, 6, _generator())
    assert found.shape == (8, 6, 2)
    assert torch.equal(found[:, 0], batch.action)
    repeated = batch.observation[:, None].expand(-1, 5, -1)
    torch.testing.assert_close(found[:, 1:], behaviour.act(repeated, 1, 1.0, _generator()))
    assert not found.requires_grad
    alone = behaviour_candidates(batch.observation, batch.action, behaviour, 1, _generator())
    assert torch.equal(alone, batch.action[:, None])


def test_candidates_move_up_the_mean_value_by_even_distances():
    """Along the slope by hand, the first not at all, less where it is flat, and never beyond the bounds."""
    observation = torch.tensor([[0.6, 0.8, 0.0], [0.3, 2.0, 9.0]])
    candidates = torch.tensor([[[0.5, 0.5]] * 3, [[0.1, 0.9]] * 3])
    found = ascend_values(observation, candidates, _critic, 0.4)
    # Twice the slope of the mean is (s_0 - 3 y, s_1 - 3 x): (-0.9, -0.7) and (-2.4, 1.7).
    expected = []
    mean = (np.hypot(0.9, 0.7) + np.hypot(2.4, 1.7)) / 2.0
    for start, slope, length in (
        ([0.5, 0.5], [-0.9, -0.7], mean),
        ([0.1, 0.9], [-2.4, 1.7], np.hypot(2.4, 1.7)),
    ):
        step = np.array(slope) / length
        expected.append([np.clip(start + distance * step, -1.0, 1.0) for distance in (0.0, 0.2, 0.4)])
    torch.testing.assert_close(found, torch.tensor(np.array(expected), dtype=torch.float32))
    assert float(found[1, 2, 1]) == 1.0


def test_moving_candidates_leaves_the_critic_alone(models):
    """No gradient reaches its weights, or the candidates that came; a flat critic moves nothing."""
    _, critic = models
    batch = _batch()
    candidates = batch.action[:, None].repeat(1, 3, 1)
    with torch.no_grad():
        found = ascend_values(batch.observation, candidates, critic, 0.3)
    assert not found.requires_grad and not candidates.requires_grad
    assert all(parameter.grad is None for parameter in critic.parameters())
    lengths = (found - candidates).norm(dim=-1)
    assert bool((lengths <= torch.tensor([0.0, 0.15, 0.3]) + 1e-5).all()) and float(lengths.max()) > 0.29
    values = critic(batch.observation[:, None], found).mean(dim=0).mean(dim=0).tolist()
    assert values[0] < values[1] < values[2]
    for parameter in critic.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(ascend_values(batch.observation, candidates, critic, 0.3), candidates)


def test_reference_sets_weigh_candidates_by_the_smaller_value(models):
    """A valid set in the mass convention; its values are means of the smallest member, by hand."""
    _, critic = models
    batch = _batch()
    candidates = torch.rand(8, 6, 2, generator=_generator()) * 2.0 - 1.0
    found = critic_reference_set(batch.observation, candidates, critic, 0.7).validate()
    assert found.convention == "mass"
    assert torch.equal(found.observation, batch.observation) and torch.equal(found.actions, candidates)
    q_values = torch.tensor(
        [
            [float(critic(observation, action).min().detach()) for action in actions]
            for observation, actions in zip(batch.observation, candidates, strict=True)
        ]
    )
    weights = boltzmann_log_weights(q_values, 0.7).exp()
    torch.testing.assert_close(found.log_probs.exp(), weights, atol=1e-3, rtol=0.0)
    for row in range(8):
        mean = sum(float(w) * float(q) for w, q in zip(weights[row], q_values[row], strict=True))
        assert float(found.value[row]) == pytest.approx(mean, abs=1e-5)
        assert float(found.policy_value[row]) == pytest.approx(float(q_values[row].mean()), abs=1e-5)
    assert bool((found.value > found.policy_value).all())
    assert not any(array.requires_grad for array in found.to_arrays().values())


def test_a_reference_set_of_one_candidate_is_certain(models):
    """Whatever its value."""
    batch = _batch()
    found = critic_reference_set(batch.observation, batch.action[:, None], models[1], 0.7).validate()
    assert torch.equal(found.log_probs, torch.zeros(8, 1))


def test_wrong_arguments_are_named():
    """Also what would be broadcast in silence: targets of another rank, values of other members."""
    batch = _batch()
    with pytest.raises(ValueError, match=r"`targets` must have shape \[8\], got \[8, 1\]"):
        critic_loss(_critic, batch, torch.zeros(8, 1))
    with pytest.raises(ValueError, match=r"`q_values` must have shape \[2, any\], got \[3, 8\]"):
        policy_gradient_loss(torch.zeros(3, 8), _generator())
    with pytest.raises(ValueError, match="`num_actions` must be an integer of at least 1, got 0"):
        _targets(batch, _Policy(), num_actions=0)
    with pytest.raises(ValueError, match=r"`target_kl` must be positive, got 0\.0"):
        boltzmann_log_weights(torch.zeros(2, 3), 0.0)
    with pytest.raises(ValueError, match="`num_candidates` must be an integer of at least 1, got 0"):
        behaviour_candidates(batch.observation, batch.action, None, 0, _generator())
