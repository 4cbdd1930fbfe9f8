import pytest
import torch

from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class _Fixed:
    """Proposes the same candidates in every state, and keeps how it was asked."""

    def __init__(self, candidates):
        self.candidates = torch.tensor(candidates)[:, None]

    def act(self, observation, num_steps, noise_scale, generator):
        self.asked = (tuple(observation.shape), num_steps, noise_scale)
        return self.candidates.expand(*observation.shape[:-1], 1)


def _critic(observation, action):
    """Two members, the larger of which must not count: the smaller is `observation * action`."""
    value = observation[..., 0] * action[..., 0]
    return torch.stack([value + action[..., 0].clamp_min(0.0), value - action[..., 0].clamp_max(0.0)])


def test_candidates_are_drawn_by_the_softmax_of_their_smallest_value():
    """Shares over many draws; values are taken as they are, so a larger scale decides more sharply."""
    candidates = [-1.0, 0.0, 0.5, 1.0]
    for scale in (1.0, 3.0):
        policy, observation = _Fixed(candidates), torch.full((20_000, 3), scale)
        actions = act_by_value(policy, _critic, observation, 4, 2, 0.7, _generator())
        assert policy.asked == ((20_000, 4, 3), 2, 0.7)
        assert actions.shape == (20_000, 1)
        shares = torch.stack([(actions == candidate).float().mean() for candidate in candidates])
        expected = torch.tensor([scale * candidate for candidate in candidates]).softmax(0)
        torch.testing.assert_close(shares, expected, atol=0.015, rtol=0.0)


def test_every_state_chooses_among_its_own_candidates():
    """Where values decide for certain: the largest action at positive observations, else the least."""
    observation = torch.tensor([[1e4], [-1e4], [1e4]])
    actions = act_by_value(_Fixed([-1.0, 0.0, 1.0]), _critic, observation, 3, generator=_generator())
    assert torch.equal(actions, torch.tensor([[1.0], [-1.0], [1.0]]))


@pytest.mark.parametrize("policy_type", [ConsistencyPolicy, DiffusionPolicy, GaussianPolicy])
def test_the_chosen_one_is_a_draw_of_the_policy(policy_type):
    """One of the candidates that the policy draws with that generator, for each kind; draws are seeded."""
    torch.manual_seed(0)
    policy, critic = policy_type(3, 2, hidden_sizes=(8,)), QEnsemble(3, 2, hidden_sizes=(8,))
    observation = torch.randn(5, 3)
    actions = act_by_value(policy, critic, observation, 6, 2, 0.5, _generator(4))
    drawn = policy.act(observation[:, None].expand(-1, 6, -1), 2, 0.5, _generator(4))
    assert bool((drawn == actions[:, None]).all(dim=-1).any(dim=-1).all())
    assert torch.equal(act_by_value(policy, critic, observation, 6, 2, 0.5, _generator(4)), actions)
    assert not torch.equal(act_by_value(policy, critic, observation, 6, 2, 0.5, _generator(5)), actions)
    assert not actions.requires_grad


def test_one_candidate_is_taken():
    """Whatever its value."""
    actions = act_by_value(_Fixed([0.25]), _critic, torch.randn(4, 1), 1)
    assert torch.equal(actions, torch.full((4, 1), 0.25))


def test_no_candidate_is_refused():
    with pytest.raises(ValueError, match="`num_candidates` must be an integer of at least 1, got 0"):
        act_by_value(_Fixed([0.25]), _critic, torch.randn(4, 1), 0)
