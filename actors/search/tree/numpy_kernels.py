"""The inner loops of tree search, in numpy: vectorised over simulations and over the steps of their paths."""

import numpy as np

from actors.search.tree.scores import completed_q_values, puct, scaled_values, visit_lag
from actors.search.tree.tree import Expansion, Tree, write_prior


def descend(tree: Tree, root_edges: np.ndarray, max_depth: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Follows the best edges down to one without a child, or to the largest depth.

    Args:
      tree: the tree.
      root_edges: the edge each simulation leaves its root by. Shape `[M]`.
      max_depth: edges of a path at most; None for no limit.

    Returns:
      The last edge of each path `[M]`, and what `back_up` needs.
    """
    path = [root_edges]
    while max_depth is None or len(path) < max_depth:
        edges = tree.best_edges[tree.children[path[-1]]]
        if (edges == tree.sink * tree.num_actions).all():
            break
        path.append(edges)
    trace = np.stack(path)  # the sink's edge after the end of a path
    depth = (trace != tree.sink * tree.num_actions).sum(axis=0)
    return trace[depth - 1, np.arange(trace.shape[1])], trace


def expand(tree: Tree, edges: np.ndarray, expansion: Expansion) -> np.ndarray:
    """Writes what the model says about the nodes that edges lead to, new ones mostly.

    The `i`-th simulation of a root makes node `i + 1`, as in mctx; where the edge has a child already, that
    is written again and the row is left out. States, observations and actions are left to the caller.

    Args:
      tree: written to.
      edges: no edge twice. Shape `[M]`.
      expansion: of these edges.

    Returns:
      The nodes. Shape `[M]`.

    Raises:
      ValueError: if a logit is not finite, naming its row.
    """
    parents, actions = np.divmod(edges, tree.num_actions)
    nodes = tree.children[edges]
    nodes = np.where(nodes == tree.sink, _next_rows(tree, parents // tree.num_nodes), nodes)
    write_prior(tree, nodes, expansion.prior_logits)
    tree.raw_values[nodes] = tree.node_values[nodes] = expansion.value
    tree.node_visits[nodes] += 1.0
    tree.children[edges] = nodes
    tree.parent_edges[nodes] = edges
    tree.rewards[parents, actions] = expansion.reward
    tree.discounts[parents, actions] = expansion.discount
    return nodes


def back_up(tree: Tree, trace: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """Carries the leaves' values up their paths: `G = reward + discount G`, and running means of it.

    Args:
      tree: written to.
      trace: from `descend`.
      leaves: nodes at the ends of the paths. Shape `[M]`.

    Returns:
      The nodes below the roots whose statistics have changed.
    """
    parents, actions = np.divmod(trace, tree.num_actions)
    rewards, discounts = tree.rewards[parents, actions], tree.discounts[parents, actions]
    returns = np.empty(trace.shape)
    value = tree.node_values[leaves]
    for depth in range(len(trace) - 1, -1, -1):
        value = rewards[depth] + discounts[depth] * value
        returns[depth] = value
    # Below the roots no node is on two paths.
    below = parents[1:]
    visits = tree.node_visits[below]
    tree.node_values[below] = (tree.node_values[below] * visits + returns[1:]) / (visits + 1.0)
    tree.node_visits[below] = visits + 1.0
    roots = parents[0]
    total = np.zeros(tree.num_roots)
    count = np.bincount(roots // tree.num_nodes, minlength=tree.num_roots)
    np.add.at(total, roots // tree.num_nodes, returns[0])
    rows = tree.roots
    visits = tree.node_visits[rows]
    tree.node_values[rows] = (tree.node_values[rows] * visits + total) / (visits + count)
    tree.node_visits[rows] = visits + count
    # Edges: their children's new values.
    children = tree.children[trace]
    tree.child_values[parents, actions] = tree.node_values[children]
    tree.edge_visits[parents, actions] += 1.0
    _reset_sink(tree)
    changed = np.concatenate([below.ravel(), leaves])
    return changed[changed != tree.sink]


def complete(
    tree: Tree, nodes: np.ndarray, value_scale: float, max_visit_init: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `completed_q_values` and `scaled_values` of nodes. Shapes `[L, K]`."""
    q_values = completed_q_values(tree, nodes)
    scaled = scaled_values(tree, nodes, q_values, value_scale=value_scale, max_visit_init=max_visit_init)
    return q_values, scaled


def choose_by_lag(tree: Tree, nodes: np.ndarray, value_scale: float, max_visit_init: float) -> np.ndarray:
    """Returns the action of the largest `visit_lag` of each node. Shape `[L]`."""
    _, scaled = complete(tree, nodes, value_scale, max_visit_init)
    return visit_lag(tree, nodes, scaled).argmax(axis=1)


def choose_by_puct(tree: Tree, nodes: np.ndarray, pb_c_init: float, pb_c_base: float) -> np.ndarray:
    """Returns the action of the largest `puct` of each node. Shape `[L]`."""
    return puct(tree, nodes, pb_c_init=pb_c_init, pb_c_base=pb_c_base).argmax(axis=1)


def _next_rows(tree: Tree, roots: np.ndarray) -> np.ndarray:
    """Returns a row for each simulation, in their order at each root, whether it is needed or not."""
    order = np.argsort(roots, kind="stable")
    rank = np.empty(len(roots), np.int64)
    rank[order] = np.arange(len(roots)) - np.searchsorted(roots[order], roots[order])
    rows = roots * tree.num_nodes + tree.num_simulations[roots] + 1 + rank
    np.add.at(tree.num_simulations, roots, 1)
    return rows


def _reset_sink(tree: Tree) -> None:
    sink = tree.sink
    tree.node_visits[sink] = tree.node_values[sink] = 0.0
    tree.edge_visits[sink] = tree.child_values[sink] = 0.0
