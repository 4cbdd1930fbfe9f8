"""The inner loops of tree search, compiled; `numba_loops` has the loops themselves.

They do what `numpy_kernels` does, with the same results up to rounding. Needs numba (the extra `fast`).
"""

import numpy as np

from actors.search.tree import numba_loops
from actors.search.tree.tree import Tree


def descend(tree: Tree, root_edges: np.ndarray, max_depth: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Follows the best edges down; see `numpy_kernels.descend`."""
    edges = np.empty_like(root_edges)
    depth = tree.num_nodes if max_depth is None else max_depth
    numba_loops.descend(edges, root_edges, tree.children, tree.best_edges, depth)
    return edges, edges


def back_up(tree: Tree, trace: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """Carries the leaves' values up their paths; see `numpy_kernels.back_up`."""
    inner = np.empty(tree.sink, np.int64)
    count = numba_loops.back_up(
        inner,
        leaves,
        tree.num_roots,
        tree.parents,
        tree.node_visits,
        tree.node_values,
        tree.rewards,
        tree.discounts,
        tree.q_values,
    )
    return inner[:count]


def choose_by_halving(
    tree: Tree,
    inner: np.ndarray,
    noisy_logits: np.ndarray,
    considered: np.ndarray,
    width: int,
    value_scale: float,
    max_visit_init: float,
) -> np.ndarray:
    """Chooses edges of nodes and ranks those of roots; see `numpy_kernels.choose_by_halving`."""
    edges = np.empty((width, tree.num_roots), np.int64)
    numba_loops.choose_by_halving(
        edges,
        inner,
        noisy_logits,
        considered,
        tree.best_edges,
        tree.children,
        tree.node_visits,
        tree.q_values,
        tree.prior_logits,
        tree.raw_values,
        value_scale,
        max_visit_init,
    )
    return edges


def improve_roots(
    tree: Tree, noisy_logits: np.ndarray, value_scale: float, max_visit_init: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Concludes a search by sequential halving; see `numpy_kernels.improve_roots`."""
    action = np.empty(tree.num_roots, np.int64)
    log_weights, completed = np.empty((2, tree.num_roots, tree.num_actions))
    numba_loops.improve_roots(
        action,
        log_weights,
        completed,
        noisy_logits,
        tree.children,
        tree.node_visits,
        tree.q_values,
        tree.prior_logits,
        tree.raw_values,
        value_scale,
        max_visit_init,
    )
    return action, log_weights, completed


def choose_by_puct(tree: Tree, nodes: np.ndarray, pb_c_init: float, pb_c_base: float) -> None:
    """Sets the best edges of nodes to those of the largest `puct`."""
    numba_loops.choose_by_puct(
        nodes,
        tree.best_edges,
        tree.children,
        tree.node_visits,
        tree.q_values,
        tree.node_values,
        tree.prior_logits,
        pb_c_init,
        pb_c_base,
    )


def choose_by_prior(tree: Tree, nodes: np.ndarray) -> None:
    """Sets the best edges of nodes to the most probable ones; see `numpy_kernels.choose_by_prior`."""
    numba_loops.choose_by_prior(nodes, tree.best_edges, tree.prior_logits)
