import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_search import TableModel, slow_considered, slow_gumbel, slow_muzero

from actors.search.tree import numpy_kernels
from actors.search.tree.gumbel_muzero import gumbel_muzero
from actors.search.tree.kernels import find_kernels
from actors.search.tree.muzero import add_dirichlet_noise, muzero
from actors.search.tree.schedule import considered_visits, halving_plan
from actors.search.tree.tree import make_tree

# Where numba is not installed, both are numpy's.
KERNELS = pytest.mark.parametrize("kernels", [numpy_kernels, find_kernels()], ids=["numpy", "found"])


def _roots(model, num_roots=7, seed=1):
    return np.random.default_rng(seed).integers(len(model.value), size=num_roots)


def _tree(model, states, num_simulations):
    return make_tree(
        states[:, None].astype(float),
        np.zeros((len(states), 0), np.float32),
        model.candidates(len(states)),
        model.prior_logits[states],
        model.value[states],
        num_simulations,
    )


def _assert_same(tree, row, slow):
    """Compares a node and all below it: visits, values, priors of use, children."""
    assert tree.node_visits[row] == slow.visits
    np.testing.assert_allclose(tree.node_values[row], slow.value, rtol=1e-12)
    np.testing.assert_allclose(tree.raw_values[row], slow.raw, rtol=1e-12)
    for a in range(tree.num_actions):
        child = tree.children[row, a]
        assert (child != tree.sink) == (a in slow.children)
        if a in slow.children:
            node, reward, discount, visits = slow.children[a]
            assert tree.node_visits[child] == visits
            assert (tree.rewards[child], tree.discounts[child]) == (reward, discount)
            np.testing.assert_allclose(tree.q_values[child], reward + discount * node.value, rtol=1e-12)
            assert tree.parents[child] == row
            _assert_same(tree, child, node)


@KERNELS
@pytest.mark.parametrize("schedule", ["sequential", "exact"])
@pytest.mark.parametrize(
    ("num_actions", "num_simulations", "max_considered", "max_depth", "num_invalid"),
    [(5, 8, 16, None, 0), (5, 40, 4, None, 0), (8, 32, 16, 3, 2), (3, 25, 16, 1, 1), (16, 50, 16, None, 0)],
)
def test_gumbel_search_is_the_plain_one_at_every_node(
    kernels, schedule, num_actions, num_simulations, max_considered, max_depth, num_invalid
):
    """Visits, values and children agree all the way down, and so do weights and actions."""
    model = TableModel(num_actions=num_actions)
    states = _roots(model)
    generator = np.random.default_rng(2)
    gumbel = generator.gumbel(size=(len(states), num_actions))
    invalid = np.zeros((len(states), num_actions), bool)
    for row in invalid:
        row[generator.choice(num_actions, num_invalid, replace=False)] = True
    tree = _tree(model, states, num_simulations)
    found = gumbel_muzero(
        tree,
        model,
        gumbel,
        invalid_actions=invalid,
        num_simulations=num_simulations,
        max_considered=max_considered,
        max_depth=max_depth,
        schedule=schedule,
        kernels=kernels,
    )
    for b, state in enumerate(states):
        slow, action, weights = slow_gumbel(
            model, state, gumbel[b], invalid[b], num_simulations, max_considered, max_depth
        )
        _assert_same(tree, b, slow)
        assert found.action[b] == action
        np.testing.assert_allclose(np.exp(found.log_weights[b]), weights, atol=1e-12)


@KERNELS
@pytest.mark.parametrize(("num_simulations", "max_depth"), [(1, None), (30, None), (30, 2)])
def test_puct_search_is_the_plain_one_at_every_node(kernels, num_simulations, max_depth):
    """The same for MuZero, with an invalid action in some roots."""
    model = TableModel()
    states = _roots(model)
    invalid = np.random.default_rng(3).random((len(states), 5)) < 0.3
    invalid[invalid.all(axis=1), 0] = False
    tree = _tree(model, states, num_simulations)
    found = muzero(
        tree,
        model,
        invalid_actions=invalid,
        num_simulations=num_simulations,
        max_depth=max_depth,
        kernels=kernels,
    )
    for b, state in enumerate(states):
        slow, action, weights = slow_muzero(model, state, invalid[b], num_simulations, max_depth)
        _assert_same(tree, b, slow)
        assert found.action[b] == action
        np.testing.assert_allclose(np.exp(found.log_weights[b]), weights, atol=1e-12)


def test_rounds_agree_with_the_rest_within_the_first_round():
    """With no more simulations than candidates every candidate is visited once, in whatever schedule."""
    model = TableModel(num_actions=8)
    states = _roots(model, 20)
    gumbel = np.random.default_rng(0).gumbel(size=(20, 8))
    found = [
        gumbel_muzero(_tree(model, states, 8), model, gumbel, num_simulations=8, schedule=schedule)
        for schedule in ("rounds", "sequential")
    ]
    np.testing.assert_allclose(found[0].log_weights, found[1].log_weights, atol=1e-12)
    np.testing.assert_array_equal(found[0].action, found[1].action)


@pytest.mark.parametrize("num_considered", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("num_simulations", [1, 16, 50])
def test_schedule_spends_the_budget_by_halving(num_considered, num_simulations):
    """The order of visits is that of the plain loop, and never runs ahead of itself."""
    found = considered_visits(num_considered, num_simulations)
    assert list(found) == slow_considered(num_considered, num_simulations)
    assert len(found) == num_simulations and found[0] == 0


def test_plans_go_on_together_until_one_of_them_changes():
    """Each has the schedule of its number of candidates, and a pass ends where any of them counts on."""
    plan, ends = halving_plan((2, 3), 6)
    for column, count in enumerate((2, 3)):
        assert tuple(plan[:, column]) == considered_visits(count, 6)
    changes = [t for t in range(1, 6) if (plan[t] != plan[t - 1]).any()]
    assert ends == tuple(min(t for t in [*changes, 6] if t > start) for start in range(6))


def test_is_alive_below_terminations():
    """No node is, of which an ancestor or itself ended the episode."""
    model = TableModel()
    tree = _tree(model, _roots(model), 40)
    gumbel_muzero(tree, model, np.zeros((7, 5)), num_simulations=40)
    is_alive = tree.is_alive()
    for node in range(tree.num_roots, tree.sink):
        assert is_alive[node] == (is_alive[tree.parents[node]] and tree.discounts[node] > 0.0)
    assert is_alive[tree.roots].all() and not is_alive.all()


@pytest.mark.parametrize("name", ["gumbel", "muzero"])
@given(seed=st.integers(0, 10_000), num_roots=st.integers(2, 9), num_simulations=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_roots_do_not_disturb_each_other(name, seed, num_roots, num_simulations):
    """A root's result is the same alone and in company."""
    model, generator = TableModel(), np.random.default_rng(seed)
    states = generator.integers(len(model.value), size=num_roots)
    gumbel = generator.gumbel(size=(num_roots, 5))

    def search(rows):
        tree = _tree(model, states[rows], num_simulations)
        if name == "muzero":
            return muzero(tree, model, num_simulations=num_simulations).log_weights
        return gumbel_muzero(tree, model, gumbel[rows], num_simulations=num_simulations).log_weights

    together = search(slice(None))
    for b in (0, num_roots - 1):
        np.testing.assert_array_equal(search(slice(b, b + 1))[0], together[b])


def test_no_valid_action_is_refused():
    """The row is named."""
    model = TableModel()
    states = _roots(model, 3)
    invalid = np.zeros((3, 5), bool)
    invalid[1] = True
    for search in (
        lambda tree: gumbel_muzero(tree, model, np.zeros((3, 5)), invalid_actions=invalid, num_simulations=2),
        lambda tree: muzero(tree, model, invalid_actions=invalid, num_simulations=2),
    ):
        with pytest.raises(ValueError, match=r"`invalid_actions` must leave an action in each row.* row 1"):
            search(_tree(model, states, 2))


class _FaultyModel:
    """What the table says, but for one thing."""

    def __init__(self, model, fault_fn):
        self._model, self._fault_fn = model, fault_fn

    def expand(self, state, action):
        expansion = self._model.expand(state, action)
        return expansion._replace(**self._fault_fn(expansion))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"invalid_actions": np.zeros((3, 5), int)}, "`invalid_actions` must be of booleans, got int64"),
        ({"invalid_actions": np.zeros(5, bool)}, r"`invalid_actions` must have shape \[3, 5\], got \[5\]"),
        ({"num_simulations": 0}, "`num_simulations` must be an integer of at least 1"),
        ({"num_simulations": 9}, "`num_simulations` must be at most 8, for which the tree has room, got 9"),
        ({"max_depth": 0}, "`max_depth` must be an integer of at least 1"),
        ({"fault_fn": lambda e: {"value": np.where(np.arange(len(e.value)) == 1, np.nan, 0.0)}}, "row 1"),
        ({"fault_fn": lambda e: {"prior_logits": np.zeros((len(e.reward), 6))}}, "at most 5 actions a node"),
    ],
)
@pytest.mark.parametrize("name", ["gumbel", "muzero"])
def test_bad_input_is_refused(name, settings, message):
    """With its name, and no weights that are no numbers."""
    model = TableModel()
    settings = {"num_simulations": 8} | settings
    faulty = _FaultyModel(model, settings.pop("fault_fn", lambda expansion: {}))
    tree = _tree(model, _roots(model, 3), 8)
    with pytest.raises(ValueError, match=message):
        if name == "gumbel":
            gumbel_muzero(tree, faulty, np.zeros((3, 5)), **settings)
        else:
            muzero(tree, faulty, **settings)


def test_a_root_without_a_value_is_refused():
    """The row is named."""
    model = TableModel()
    states = _roots(model, 3)
    value = np.array([0.0, np.inf, 0.0])
    with pytest.raises(ValueError, match="`value` must be finite, got inf in row 1"):
        make_tree(
            states[:, None], np.zeros((3, 0)), model.candidates(3), model.prior_logits[states], value, 8
        )


def test_dirichlet_noise_keeps_its_share():
    """The mixture's mean over draws is 3/4 of the prior and 1/4 of the uniform distribution."""
    logits = np.tile(np.log([[0.7, 0.2, 0.1]]), (20_000, 1))
    mixed = np.exp(add_dirichlet_noise(logits, np.random.default_rng(0)))
    np.testing.assert_allclose(mixed.sum(axis=1), 1.0)
    np.testing.assert_allclose(mixed.mean(axis=0), 0.75 * np.array([0.7, 0.2, 0.1]) + 0.25 / 3, atol=0.005)


@pytest.mark.parametrize("schedule", ["rounds", "sequential"])
def test_compiled_loops_have_the_results_of_numpys(schedule):
    """Every visit is the same; values differ by rounding at most."""
    model = TableModel(num_actions=16)
    states = _roots(model, 64)
    gumbel = np.random.default_rng(5).gumbel(size=(64, 16))
    plain, compiled = (
        gumbel_muzero(
            _tree(model, states, 60), model, gumbel, num_simulations=60, schedule=schedule, kernels=kernels
        )
        for kernels in (numpy_kernels, find_kernels())
    )
    for name in ("node_visits", "children", "parents"):
        np.testing.assert_array_equal(getattr(plain.tree, name)[:-1], getattr(compiled.tree, name)[:-1])
    np.testing.assert_allclose(plain.log_weights, compiled.log_weights, rtol=1e-10)
    np.testing.assert_array_equal(plain.action, compiled.action)


def test_the_fast_extra_is_found_where_it_is_installed():
    """This installation has numba."""
    assert find_kernels().__name__ == "actors.search.tree.numba_kernels"
