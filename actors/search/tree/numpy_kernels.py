"""The inner loops of tree search, in numpy: vectorised over simulations and over the steps of their paths."""

import numpy as np

from actors.search.tree.scores import puct, scaled_values, visit_lag
from actors.search.tree.tree import Tree


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


def choose_by_lag(tree: Tree, nodes: np.ndarray, value_scale: float, max_visit_init: float) -> np.ndarray:
    """Returns the action of the largest `visit_lag` of each node. Shape `[L]`."""
    scaled = scaled_values(tree, nodes, value_scale=value_scale, max_visit_init=max_visit_init)
    return visit_lag(tree, nodes, scaled).argmax(axis=1)


def choose_by_puct(tree: Tree, nodes: np.ndarray, pb_c_init: float, pb_c_base: float) -> np.ndarray:
    """Returns the action of the largest `puct` of each node. Shape `[L]`."""
    return puct(tree, nodes, pb_c_init=pb_c_init, pb_c_base=pb_c_base).argmax(axis=1)


def _reset_sink(tree: Tree) -> None:
    sink = tree.sink
    tree.node_visits[sink] = tree.node_values[sink] = 0.0
    tree.edge_visits[sink] = tree.child_values[sink] = 0.0
