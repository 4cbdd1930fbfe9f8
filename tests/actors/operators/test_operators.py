"""What holds for every operator."""

import numpy as np
import pytest
from toy_simulator import STEP, LinearPolicy, PointMassSimulator

from actors.operators.registry import OPERATORS
from actors.stepping import best_actions
from distill_rl.types import validate_reference_set

SETTINGS = {
    "root_bandit": {"horizon_steps": 3, "hold_steps": 1},
    "gumbel_muzero": {"num_simulations": 32},
    "muzero": {"num_simulations": 32},
    "sampled_muzero": {"num_simulations": 32, "policy_scale": 0.3},
    "regularized_policy": {"num_simulations": 32},
    "mppi": {"horizon_steps": 3, "hold_steps": 1},
    "cem": {"horizon_steps": 3, "hold_steps": 1},
    "critic": {},
    "policy": {},
}
SEARCHING = [name for name in OPERATORS if name != "policy"]


class CriticLinearPolicy(LinearPolicy):
    """Has the value of one step of the point mass too."""

    def q_value(self, observation, action):
        position = (observation + STEP * action).astype(np.float32)
        return -np.square(position).sum(axis=1) + self.value(position)


def _improve(name, num_states=6, seed=0, size=2, policy=None, simulator=None, **settings):
    simulator = simulator or PointMassSimulator(size)
    states = np.random.default_rng(9).uniform(-1.0, 1.0, (num_states, size))
    config = OPERATORS[name].config_type(**{**SETTINGS[name], **settings})
    operator = OPERATORS[name](simulator, config)
    policy = policy or CriticLinearPolicy(gain=0.2)
    found = operator.improve(states.astype(np.float32), states, policy, np.random.default_rng(seed), 7)
    return found, operator, states


@pytest.mark.parametrize("name", OPERATORS)
def test_set_keeps_the_contract(name):
    """Shapes, dtypes, bounds, normalisation, version; diagnostics of this very search."""
    found, operator, states = _improve(name)
    validate_reference_set(found)
    assert found.policy_version == 7 and found.actions.shape == (6, operator.config.num_candidates, 2)
    np.testing.assert_array_equal(found.observation, states.astype(np.float32))
    weights = np.exp(found.log_probs - found.log_proposals)
    # A distribution over candidates, or a mean of one over draws of the proposal.
    total = weights.sum(axis=1) if found.convention == "mass" else weights.mean(axis=1)
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    did = operator.last_search
    assert did.simulator_steps == operator.simulator.num_steps and did.diverged_fraction == 0.0
    assert 1.0 <= did.effective_sample_size <= operator.config.num_candidates + 1e-6
    assert did.improvement == pytest.approx(float((found.value - found.policy_value).mean()), abs=1e-5)


@pytest.mark.parametrize("name", SEARCHING)
def test_weighted_actions_are_better_than_the_policy(name):
    """By the true value of one step: that of p*, and that of the best candidate."""
    found, _, states = _improve(name, num_states=64)
    policy = CriticLinearPolicy(gain=0.2)

    def q_value(action):
        return policy.q_value(states.astype(np.float32), action)

    weights = np.exp(found.log_probs - found.log_proposals)
    weights /= weights.sum(axis=1, keepdims=True)
    values = np.stack([q_value(found.actions[:, k]) for k in range(weights.shape[1])], axis=1)
    improved = (weights * values).sum(axis=1)
    samples = policy.act(np.repeat(states, 64, axis=0).astype(np.float32), 1.0, np.random.default_rng(1))
    of_policy = np.stack([q_value(a) for a in samples.reshape(64, 64, 2).swapaxes(0, 1)], axis=1).mean()
    assert improved.mean() > of_policy + 0.01
    assert q_value(best_actions(found)).mean() > of_policy + 0.03


@pytest.mark.parametrize("name", OPERATORS)
def test_a_seed_gives_the_same_set_again(name):
    """Every draw comes from the generator; another seed gives another set."""
    first, second, other = (_improve(name, seed=seed)[0].to_arrays() for seed in (1, 1, 2))
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])
    assert (first["actions"] != other["actions"]).any()


@pytest.mark.parametrize("name", [n for n in OPERATORS if OPERATORS[n].needs_simulator])
def test_a_lost_state_is_marked_and_harms_no_other(name):
    """A root where everything diverges has NaN values, and only its own."""
    simulator = PointMassSimulator(2, poison=2.0)
    states = np.array([[0.5, 0.0], [5.0, 0.0], [-0.5, 0.3]])
    operator = OPERATORS[name](simulator, OPERATORS[name].config_type(**SETTINGS[name]))
    found = operator.improve(states.astype(np.float32), states, LinearPolicy(), np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(found.value), [False, True, False])
    np.testing.assert_array_equal(np.isnan(found.policy_value), [False, True, False])
    found.map_arrays(lambda array: array[[0, 2]]).validate()
    assert 0.3 < operator.last_search.diverged_fraction < 0.4


TREES = ["gumbel_muzero", "muzero", "regularized_policy", "sampled_muzero"]


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize(("at_root", "below"), [(1, None), (6, 1)])
def test_one_candidate_will_do(name, at_root, below):
    """At every node, or below the root: the zero-noise policy is then followed there."""
    found, _, _ = _improve(name, num_candidates=at_root, num_interior_candidates=below, num_simulations=12)
    validate_reference_set(found)


@pytest.mark.parametrize("name", ["gumbel_muzero", "muzero", "regularized_policy"])
def test_tree_transitions_start_at_the_root_and_end_with_the_episode(name):
    """The first one is the state's own, and none begins where the episode is over."""
    simulator = PointMassSimulator(1, limit=1.0)
    states = np.array([[0.97], [-0.2], [0.0]])
    operator = OPERATORS[name](simulator, OPERATORS[name].config_type(num_simulations=60, num_candidates=4))
    policy = LinearPolicy(gain=-1.0)  # away from zero
    found = operator.improve(states.astype(np.float32), states, policy, np.random.default_rng(0))
    steps = found.transitions
    np.testing.assert_array_equal(steps.observation[:, 0], states.astype(np.float32))
    assert (np.abs(steps.observation) <= 1.0).all()
    is_over = np.abs(steps.next_observation[..., 0]) > 1.0
    assert is_over.any() and (steps.discount[is_over] == 0.0).all() and (steps.discount[~is_over] > 0.0).all()


@pytest.mark.parametrize("name", [n for n in OPERATORS if OPERATORS[n].needs_simulator])
def test_transitions_are_steps_of_the_zero_noise_policy(name):
    """Each is what the simulator does under the policy's own action, for as long as its discount says."""
    found, operator, _ = _improve(name)
    if name == "sampled_muzero":
        assert found.transitions is None
        return
    policy, discount = CriticLinearPolicy(gain=0.2), operator.config.discount
    steps = found.transitions
    for row, column in np.ndindex(steps.reward.shape):
        position, total = steps.observation[row, column].astype(np.float64), 0.0
        factor, reward = steps.discount[row, column], steps.reward[row, column]
        if factor == 0.0:  # the zero-noise action was not tried: what the state is known to be worth
            assert reward == found.policy_value[row] and column == 0
            continue
        for step in range(round(np.log(factor) / np.log(discount))):
            position = position + STEP * policy.act(position[None].astype(np.float32), 0.0, None)[0]
            total -= discount**step * np.square(position).sum()
        np.testing.assert_allclose(total, reward, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(position, steps.next_observation[row, column], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mppi", {"target_kl": None}, "`target_kl` or `target_ess` must be given"),
        ("mppi", {"target_ess": 40.0}, "`target_ess` must be within 1 to num_candidates = 32, got 40.0"),
        ("critic", {"target_kl": -1.0}, "`target_kl` must be positive"),
        ("critic", {"is_temperature_shared": True, "target_ess": 2.0}, "`is_temperature_shared` goes with"),
        ("cem", {"num_elites": 33}, "`num_elites` must be at most num_candidates = 32, got 33"),
        ("cem", {"min_scale": 0.0}, "`min_scale` must be positive"),
        ("gumbel_muzero", {"gumbel_scale": -1.0}, "`gumbel_scale` must not be negative"),
        ("gumbel_muzero", {"num_interior_candidates": 17}, "`num_interior_candidates` must be at most"),
        ("gumbel_muzero", {"widening_exponent": 0.0}, "`widening_exponent` must be positive"),
        ("muzero", {"dirichlet_fraction": 1.5}, "`dirichlet_fraction` must be within"),
        ("muzero", {"num_simulations": 0}, "`num_simulations` must be an integer of at least 1"),
        ("sampled_muzero", {"proposal_temperature": 0.5}, "`proposal_temperature` must be at least 1"),
        ("regularized_policy", {"exploration": 0.0}, "`exploration` must be positive"),
        ("policy", {"discount": 1.2}, "`discount` must be within"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, message):
    """The setting, what was expected and what came are named."""
    with pytest.raises(ValueError, match=message):
        OPERATORS[name].config_type(**settings)
