import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from slow_search import TableModel

from actors.search.tree import numpy_kernels
from actors.search.tree.gumbel_muzero import gumbel_muzero
from actors.search.tree.kernels import find_kernels
from actors.search.tree.muzero import muzero
from actors.search.tree.regularized import regularized_search
from actors.search.tree.scores import solve_regularized
from actors.search.tree.tree import make_tree
from actors.search.tree.widening import Widening


class Bandit:
    """Every action of the root is worth what the table says, and ends the episode."""

    def __init__(self, q_values):
        self.q_values = np.asarray(q_values, float)

    def expand(self, state, action):
        from actors.search.tree.tree import Expansion

        rows, count = state[:, 0].astype(int), self.q_values.shape[1]
        zeros = np.zeros(len(rows))
        return Expansion(
            state,
            np.zeros((len(rows), 0), np.float32),
            self.q_values[rows, action[:, 0].astype(int)],
            zeros,
            np.tile(np.arange(count, dtype=float)[None, :, None], (len(rows), 1, 1)),
            np.zeros((len(rows), count)),
            zeros,
        )

    def roots(self, logits, num_simulations, order=None):
        num_roots, count = self.q_values.shape
        order = np.arange(count) if order is None else order
        return make_tree(
            np.arange(num_roots, dtype=float)[:, None],
            np.zeros((num_roots, 0), np.float32),
            np.tile(order.astype(float)[None, :, None], (num_roots, 1, 1)),
            np.asarray(logits)[:, order],
            np.zeros(num_roots),
            num_simulations,
        )


def _searches(generator):
    """Every named search, as `(tree, model, num_simulations) -> result`."""
    return {
        "gumbel rounds": lambda tree, model, n: gumbel_muzero(
            tree, model, np.zeros((tree.num_roots, tree.num_actions)), num_simulations=n
        ),
        "gumbel sequential": lambda tree, model, n: gumbel_muzero(
            tree,
            model,
            np.zeros((tree.num_roots, tree.num_actions)),
            num_simulations=n,
            schedule="sequential",
        ),
        "muzero": lambda tree, model, n: muzero(tree, model, num_simulations=n),
        "regularized": lambda tree, model, n: regularized_search(tree, model, generator, num_simulations=n),
    }


NAMES = list(_searches(None))


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 9),
    num_simulations=st.integers(1, 40),
    name=st.sampled_from(NAMES),
)
@settings(max_examples=30, deadline=None)
def test_weights_are_a_distribution(seed, count, num_simulations, name):
    """Whatever the priors and values: non-negative, summing to one, and the action has the most mass."""
    generator = np.random.default_rng(seed)
    model = Bandit(generator.normal(size=(3, count)) * 10.0 ** generator.integers(-3, 4))
    tree = model.roots(3.0 * generator.normal(size=(3, count)), num_simulations)
    found = _searches(generator)[name](tree, model, num_simulations)
    weights = np.exp(found.log_weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-9)
    assert (weights[np.arange(3), found.action] > 0.0).all()


@given(seed=st.integers(0, 10_000), count=st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_more_simulations_never_hurt_where_values_are_exact(seed, count):
    """On a bandit, once every candidate has been visited, the expected value only rises."""
    generator = np.random.default_rng(seed)
    model = Bandit(generator.normal(size=(4, count)))
    logits = generator.normal(size=(4, count))
    last = np.full(4, -np.inf)
    for num_simulations in (count, 2 * count, 4 * count):
        tree = model.roots(logits, num_simulations)
        found = gumbel_muzero(tree, model, np.zeros((4, count)), num_simulations=num_simulations)
        value = (np.exp(found.log_weights) * model.q_values).sum(axis=1)
        assert (value >= last - 1e-12).all()
        last = value


@given(seed=st.integers(0, 10_000), name=st.sampled_from(["gumbel rounds", "gumbel sequential", "muzero"]))
@settings(max_examples=30, deadline=None)
def test_permuted_candidates_permute_the_answer(seed, name):
    """The order in which candidates stand means nothing, but for actions visited equally often by MuZero."""
    generator = np.random.default_rng(seed)
    model, logits = Bandit(generator.normal(size=(5, 7))), generator.normal(size=(5, 7))
    order = generator.permutation(7)
    search = _searches(generator)[name]
    plain = search(model.roots(logits, 25), model, 25)
    permuted = search(model.roots(logits, 25, order), model, 25)
    np.testing.assert_allclose(permuted.log_weights, plain.log_weights[:, order], rtol=1e-12)
    rows = np.arange(5)
    is_tie = (plain.log_weights == plain.log_weights[rows, plain.action][:, None]).sum(axis=1) > 1
    is_same = order[permuted.action] == plain.action
    assert (is_same | (is_tie & (name == "muzero"))).all()


def test_regularised_policy_solves_its_problem():
    """It is what a general optimiser finds for `max q . y - weight KL(prior || y)`."""
    generator = np.random.default_rng(1)
    q_values, prior = generator.random((6, 5)), generator.dirichlet(np.ones(5), 6)
    weight = np.array([0.01, 0.05, 0.2, 0.5, 1.0, 5.0])
    found = solve_regularized(q_values, prior, weight)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    for q, p, w, y in zip(q_values, prior, weight, found):

        def cost(logits, q=q, p=p, w=w):
            y = np.exp(logits - logits.max())
            y /= y.sum()
            return -(q @ y) + w * (p * np.log(p / y)).sum()

        best = minimize(cost, np.log(p), method="BFGS", options={"gtol": 1e-10})
        assert cost(np.log(y)) <= best.fun + 1e-9
        # q + weight prior / y is the same for all actions.
        np.testing.assert_allclose(np.ptp(q + w * p / y), 0.0, atol=1e-6)


def test_regularised_policy_without_weight_or_prior():
    """A weight of 0 leaves the prior; an action without prior gets nothing."""
    prior = np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    found = solve_regularized(np.array([[0.0, 1.0, 9.0]] * 2), prior, np.array([0.0, 0.3]))
    np.testing.assert_allclose(found[0], prior[0])
    assert found[1, 2] == 0.0 and found[1, 1] > 0.8


def test_regularised_search_draws_from_its_policy():
    """Visits of a flat bandit follow the prior; the drawn action too."""
    logits = np.log([[0.6, 0.3, 0.1]])
    model = Bandit(np.zeros((1, 3)))
    found = regularized_search(
        model.roots(logits, 1_000), model, np.random.default_rng(0), num_simulations=1_000
    )
    share = found.tree.edges(found.tree.roots).visits[0] / 1_000
    np.testing.assert_allclose(share, [0.6, 0.3, 0.1], atol=0.05)
    np.testing.assert_allclose(np.exp(found.log_weights[0]), [0.6, 0.3, 0.1], atol=1e-6)


def test_widening_offers_more_with_visits():
    """At `n` visits the first `ceil(c n^a)` actions can be chosen, and no other."""
    widening = Widening(coefficient=1.0, exponent=0.5)
    model = TableModel(num_actions=6)
    states = np.zeros(1, int)
    for num_simulations in (1, 3, 8, 24):
        tree = make_tree(
            states[:, None].astype(float),
            np.zeros((1, 0), np.float32),
            model.candidates(1),
            model.prior_logits[states],
            model.value[states],
            num_simulations,
        )
        muzero(tree, model, num_simulations=num_simulations, widening=widening)
        used = (tree.children[:-1] != tree.sink).cumsum(axis=1).argmax(axis=1) + 1
        visited = tree.node_visits[:-1] > 1
        allowed = np.ceil(np.sqrt(tree.node_visits[:-1]))
        assert (used[visited] <= allowed[visited]).all()
        assert used[0] <= np.ceil(np.sqrt(num_simulations))


def test_fewer_candidates_below_the_root():
    """Those a node does not have are never taken."""
    model = TableModel(num_actions=6)

    class Narrow:
        def expand(self, state, action):
            full = model.expand(state, action)
            return full._replace(actions=full.actions[:, :2], prior_logits=full.prior_logits[:, :2])

    states = np.arange(4)
    for name, search in _searches(np.random.default_rng(0)).items():
        tree = make_tree(
            states[:, None].astype(float),
            np.zeros((4, 0), np.float32),
            model.candidates(4),
            model.prior_logits[states],
            model.value[states],
            30,
        )
        search(tree, Narrow(), 30)
        is_taken = tree.children[tree.num_roots : -1] != tree.sink
        assert not is_taken[:, 2:].any(), name
        assert is_taken[:, :2].any(), name


@pytest.mark.parametrize("kernels", [numpy_kernels, find_kernels()], ids=["numpy", "found"])
def test_actions_that_a_node_does_not_have_change_nothing(kernels):
    """A narrow node below a wide root is the node of a narrow tree: same values, same choices."""
    narrow = TableModel(num_actions=3)

    class Wide:
        """The root has two more actions, which lead to where nothing is to be had."""

        def expand(self, state, action):
            found = narrow.expand(state, np.minimum(action, 2.0))
            return found._replace(reward=np.where(action[:, 0] > 2.0, -50.0, found.reward))

    states = np.arange(6)
    trees = []
    for model, count in ((narrow, 3), (Wide(), 5)):
        logits = np.full((6, count), -40.0)
        logits[:, :3] = narrow.prior_logits[states]
        actions = np.tile(np.arange(count, dtype=float)[None, :, None], (6, 1, 1))
        nothing = np.zeros((6, 0), np.float32)
        tree = make_tree(states[:, None].astype(float), nothing, actions, logits, narrow.value[states], 40)
        gumbel = np.zeros((6, count))
        gumbel[:, 3:] = -1e3
        gumbel_muzero(
            tree, model, gumbel, num_simulations=40, max_considered=3, schedule="sequential", kernels=kernels
        )
        trees.append(tree)
    for root in range(6):
        for simulation in range(1, 41):
            row = simulation * 6 + root
            assert trees[0].node_visits[row] == trees[1].node_visits[row]
            np.testing.assert_array_equal(trees[0].children[row], trees[1].children[row, :3])


def test_widening_counts_valid_actions_only():
    """The first one that is offered is never one that must not be taken."""
    model = Bandit(np.array([[5.0, 1.0, 2.0]]))
    invalid = np.array([[True, False, False]])
    tree = model.roots(np.zeros((1, 3)), 9)
    muzero(tree, model, invalid_actions=invalid, num_simulations=9, widening=Widening(1.0, 0.5))
    visits = tree.edges(tree.roots).visits[0]
    assert visits[0] == 0.0 and visits.sum() == 9.0


def test_logits_that_are_not_finite_are_refused():
    """The row is named."""
    logits = np.zeros((3, 4))
    logits[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"`prior_logits` must be finite, got .*nan.* in row 1"):
        Bandit(np.zeros((3, 4))).roots(logits, 2)
