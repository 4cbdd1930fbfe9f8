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
    tree = found.tree
    shape = (tree.num_roots, tree.num_nodes, tree.num_actions)
    np.testing.assert_array_equal(tree.node_visits[:-1].reshape(shape[:2]), golden["node_visits"])
    np.testing.assert_array_equal(tree.edge_visits[:-1].reshape(shape), golden["children_visits"])
    children = tree.children[: -tree.num_actions].reshape(shape)
    ids = np.where(children == tree.sink, -1, children - tree.roots[:, None, None])
    np.testing.assert_array_equal(ids, golden["children_index"])
    is_used = golden["node_visits"] > 0
    values = tree.node_values[:-1].reshape(shape[:2])
    np.testing.assert_allclose(values[is_used], golden["node_values"][is_used], rtol=1e-4, atol=1e-5)
    is_visited = golden["children_visits"] > 0
    values = tree.child_values[:-1].reshape(shape)
    np.testing.assert_allclose(
        values[is_visited], golden["children_values"][is_visited], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(np.exp(found.log_weights), golden["action_weights"], atol=1e-6)
    if case.search == "gumbel":  # mctx draws MuZero's action from the weights
        np.testing.assert_array_equal(found.action, golden["action"])


@pytest.mark.parametrize("case", _GUMBEL, ids=lambda case: case.name)
def test_exact_schedule_has_the_roots_of_mctx(case):
    """Only the order of nodes differs: visits and weights of the roots are the same."""
    golden, found = _golden(case), _search(case, "exact")
    roots = found.tree.roots
    np.testing.assert_array_equal(found.tree.edge_visits[roots], golden["children_visits"][:, 0])
    np.testing.assert_allclose(np.exp(found.log_weights), golden["action_weights"], atol=1e-6)
    np.testing.assert_array_equal(found.action, golden["action"])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_trees_are_those_of_the_installed_mctx(case):
    """They can be made again."""
    golden, found = _golden(case), search_with_mctx(case)
    for name, array in found.items():
        np.testing.assert_allclose(array, golden[name], rtol=1e-5, atol=1e-6, err_msg=name)
