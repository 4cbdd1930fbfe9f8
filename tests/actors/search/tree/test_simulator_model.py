import numpy as np

from actors.search.tree.candidates import policy_candidates
from actors.search.tree.gumbel_muzero import gumbel_muzero
from actors.search.tree.simulator_model import SimulatorModel
from actors.search.tree.tree import make_tree
from actors.simulators.base import SimulatorStep


class _Line:
    """A point moves by its action and is paid its new position; beyond 3 it diverges, below -3 it ends."""

    def step(self, state, action):
        position = state[:, 0] + action[:, 0]
        reward = np.where(position > 3.0, np.nan, position)
        return SimulatorStep(
            position[:, None], position[:, None].astype(np.float32), reward, (position >= -3.0) * 1.0
        )


class _Policy:
    """Samples are uniform, the zero-noise action stands still, the value is the position."""

    def act(self, observation, noise_scale, generator):
        return (noise_scale * generator.uniform(-1.0, 1.0, (len(observation), 1))).astype(np.float32)

    def value(self, observation):
        return observation[:, 0]


def _model(num_actions=4):
    generator = np.random.default_rng(0)
    return SimulatorModel(
        _Line(), _Policy(), generator, policy_candidates, num_actions=num_actions, discount=0.9
    )


def test_expansion_is_a_step_of_the_simulator():
    """Rewards, states and values are the simulator's and the policy's; at an episode's end discount is 0."""
    model = _model()
    found = model.expand(np.array([[1.0], [-2.5]]), np.array([[0.5], [-1.0]]))
    np.testing.assert_allclose(found.state[:, 0], [1.5, -3.5])
    np.testing.assert_allclose(found.reward, [1.5, -3.5])
    np.testing.assert_allclose(found.discount, [0.9, 0.0])
    np.testing.assert_allclose(found.value, [1.5, -3.5])
    assert found.actions.shape == (2, 4, 1) and (found.actions[:, 0] == 0.0).all()
    assert (found.prior_logits == 0.0).all() and model.num_diverged == 0


def test_diverged_steps_are_lost():
    """They are counted, and told apart from a step that ends the episode."""
    model = _model()
    found = model.expand(np.array([[2.9], [-2.0], [-2.9]]), np.array([[1.0], [0.0], [-0.5]]))
    assert model.num_diverged == 1 and model.num_expanded == 3
    np.testing.assert_array_equal(found.is_lost, [True, False, False])
    np.testing.assert_array_equal(np.isnan(found.observation[:, 0]), [True, False, False])
    np.testing.assert_allclose(found.discount[1:], [0.9, 0.0])
    assert np.isfinite(found.actions).all() and np.isfinite(found.prior_logits).all()


def test_a_lost_step_is_worth_the_worst_of_its_own_root():
    """Not of another root, and never more than the root itself."""
    state = np.array([[2.5], [-2.0]])
    actions = np.tile(np.array([[[1.0], [0.2]]]), (2, 1, 1))
    tree = make_tree(state, state.astype(np.float32), actions, np.zeros((2, 2)), state[:, 0], 2)
    gumbel_muzero(tree, _model(num_actions=2), np.zeros((2, 2)), num_simulations=2)
    first, second = tree.edges(tree.roots).q_values
    # At 2.5 the first action diverges; the other is worth 2.7 + 0.9 * 2.7, the root 2.5.
    np.testing.assert_allclose(first, [2.5, 2.7 * 1.9], rtol=1e-6)
    np.testing.assert_allclose(second, [-1.0 * 1.9, -1.8 * 1.9], rtol=1e-6)
    lost = tree.children[0, 0]
    assert tree.discounts[lost] == 0.0 and not tree.is_alive()[lost]


def test_search_goes_uphill():
    """With the true model the improved policy moves right, and avoids the step that diverges."""
    model = _model(num_actions=8)
    for position, goes_right in ((0.0, True), (2.95, False)):
        state = np.full((5, 1), position)
        observation = state.astype(np.float32)
        actions, prior_logits = policy_candidates(_Policy(), observation, 8, np.random.default_rng(1))
        actions[:, 1, 0] = 1.0
        tree = make_tree(state, observation, actions, prior_logits, state[:, 0], 32)
        found = gumbel_muzero(tree, model, np.zeros((5, 8)), num_simulations=32)
        chosen = actions[np.arange(5), found.action, 0]
        assert ((chosen > 0.3) == goes_right).all()
        assert (chosen + position <= 3.0).all()
