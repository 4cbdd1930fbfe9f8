"""Equal to mctx, node by node."""

import numpy as np
import pytest
from mctx_trees import CASES, FOLDER, search_with_mctx

from actors.search.tree.gumbel_muzero import gumbel_muzero
from actors.search.tree.muzero import muzero
from actors.search.tree.tree import make_tree

_GUMBEL = [case for case in CASES if case.search == "gumbel"]


def _golden(case):
    return np.load(FOLDER / f"{case.name}.npz")


def _nodes(tree):
    """Rows of the nodes of each root, in the order they were made. Shape `[B, N]`."""
    return np.arange(tree.sink).reshape(tree.num_nodes, tree.num_roots).T


def _search(case, schedule="sequential"):
    model, roots = case.model, case.roots
    tree = make_tree(
        roots[:, None].astype(float),
        np.zeros((len(roots), 0), np.float32),
        model.candidates(len(roots)),
        model.prior_logits[roots],
        model.value[roots],
        case.num_simulations,
    )
    common = {
        "invalid_actions": case.invalid_actions,
        "num_simulations": case.num_simulations,
        "max_depth": case.max_depth,
    }
    if case.search == "muzero":
        return muzero(tree, model, **common)
    gumbel = _golden(case)["gumbel"].astype(np.float64)
    return gumbel_muzero(tree, model, gumbel, max_considered=case.max_considered, schedule=schedule, **common)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_node_is_that_of_mctx(case):
    """Ids, visits and values of all nodes and edges, weights and the action, in mctx's own order."""
    golden, found = _golden(case), _search(case)
    tree, nodes = found.tree, _nodes(found.tree)
    np.testing.assert_array_equal(tree.node_visits[nodes], golden["node_visits"])
    children = tree.children[nodes]
    np.testing.assert_array_equal(tree.node_visits[children], golden["children_visits"])
    ids = np.where(children == tree.sink, -1, children // tree.num_roots)
    np.testing.assert_array_equal(ids, golden["children_index"])
    is_used = golden["node_visits"] > 0
    np.testing.assert_allclose(
        tree.node_values[nodes][is_used], golden["node_values"][is_used], rtol=1e-4, atol=1e-5
    )
    is_visited = golden["children_visits"] > 0
    np.testing.assert_allclose(
        tree.node_values[children][is_visited], golden["children_values"][is_visited], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(np.exp(found.log_weights), golden["action_weights"], atol=1e-6)
    if case.search == "gumbel":  # mctx draws MuZero's action from the weights
        np.testing.assert_array_equal(found.action, golden["action"])


@pytest.mark.parametrize("case", _GUMBEL, ids=lambda case: case.name)
def test_exact_schedule_has_the_roots_of_mctx(case):
    """Only the order of nodes differs: visits and weights of the roots are the same."""
    golden, found = _golden(case), _search(case, "exact")
    visits = found.tree.edges(found.tree.roots).visits
    np.testing.assert_array_equal(visits, golden["children_visits"][:, 0])
    np.testing.assert_allclose(np.exp(found.log_weights), golden["action_weights"], atol=1e-6)
    np.testing.assert_array_equal(found.action, golden["action"])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_trees_are_those_of_the_installed_mctx(case):
    """They can be made again."""
    golden, found = _golden(case), search_with_mctx(case)
    for name, array in found.items():
        np.testing.assert_allclose(array, golden[name], rtol=1e-5, atol=1e-6, err_msg=name)
