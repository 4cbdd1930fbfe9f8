"""The inner loops of tree search, in numpy: vectorised over simulations and over the steps of their paths."""

import numpy as np

from actors.search.tree.result import log_softmax
from actors.search.tree.scores import completed_q_values, puct, scaled_values, visit_lag
from actors.search.tree.tree import Edges, Nodes, Tree

LOWEST_SCORE = -1e9
"""Of an action of a root that takes part in sequential halving; those that do not have `-inf`."""


def descend(tree: Tree, root_edges: np.ndarray, max_depth: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Follows the best edges down to one without a child, or to the largest depth.

    Args:
      tree: the tree.
      root_edges: the edge each simulation leaves its root by. Shape `[M]`.
      max_depth: edges of a path at most; None for no limit.

    Returns:
      The last edge of each path `[M]`, and what `back_up` needs.
    """
    children, trace, path = tree.children.reshape(-1), list[np.ndarray](), [root_edges]
    while max_depth is None or len(path) < max_depth:
        nodes = children.take(path[-1])
        if nodes.min() == tree.sink:
            break
        trace.append(nodes)
        path.append(tree.best_edges.take(nodes))
    # Children lie behind their parents, the sink behind all: the last edge is the largest of a real node.
    edges = np.array(path)
    last = np.maximum.reduce(edges, axis=0, where=edges < tree.sink * tree.num_actions, initial=0)
    return last, np.array(trace, np.int64).reshape(-1, len(last))


def back_up(tree: Tree, trace: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """Carries the leaves' values up their paths: `G = reward + discount G`, and running means of it.

    Args:
      tree: written to.
      trace: from `descend`, the nodes between root and leaf, then the sink.
      leaves: nodes at the ends of the paths, in the order of `trace`, which is that of roots within that of
        their simulations. Shape `[M]`.

    Returns:
      The nodes between roots and leaves, none twice.
    """
    value = tree.rewards[leaves] + tree.discounts[leaves] * tree.node_values[leaves]
    tree.q_values[leaves] = value
    rewards, discounts = tree.rewards[trace], tree.discounts[trace]
    returns = np.empty(trace.shape)
    for depth in range(len(trace) - 1, -1, -1):
        returns[depth] = value
        value = rewards[depth] + discounts[depth] * value
    is_inner = trace != tree.sink
    inner = trace[is_inner]
    visits = tree.node_visits[inner]
    means = (tree.node_values[inner] * visits + returns[is_inner]) / (visits + 1.0)
    tree.node_values[inner] = means
    tree.node_visits[inner] = visits + 1.0
    tree.q_values[inner] = rewards[is_inner] + discounts[is_inner] * means
    returns = value.reshape(-1, tree.num_roots)
    visits = tree.node_visits[tree.roots]
    tree.node_values[tree.roots] *= visits
    tree.node_values[tree.roots] += returns.sum(axis=0)
    visits += len(returns)  # a view: of the tree
    tree.node_values[tree.roots] /= visits
    return inner


def choose_by_halving(
    tree: Tree,
    inner: np.ndarray,
    noisy_logits: np.ndarray,
    considered: np.ndarray,
    width: int,
    value_scale: float,
    max_visit_init: float,
) -> np.ndarray:
    """Sets the best edges of nodes below the roots, and ranks those of the roots by sequential halving.

    Args:
      tree: written to.
      inner: nodes that are to be left by the edge of the largest `visit_lag`. Shape `[L]`.
      noisy_logits: of the roots, with Gumbel noise; `-inf` where an action must not be taken. Shape `[B, K]`.
      considered: visits of the actions of the roots to rank. Shape `[B]`.
      width: `W`, how many to return.
      value_scale: see `scaled_values`.
      max_visit_init: see `scaled_values`.

    Returns:
      The edges of the roots with the largest `noisy_logits + sigma(q)`, best first; all of them, `W = K`, in
      their own order. Shape `[W, B]`.
    """
    num_ranked = tree.num_roots if width < tree.num_actions else 0
    chosen = np.arange(tree.num_actions)[:, None]
    nodes = np.concatenate([np.arange(num_ranked), inner])
    if len(nodes) > 0:
        roots, below = slice(0, num_ranked), slice(num_ranked, None)
        edges = tree.edges(nodes)
        _, scaled = _complete(tree, nodes, edges, value_scale, max_visit_init)
        if len(inner) > 0:
            tree.set_best(inner, visit_lag(edges.of(below), scaled[below]))
        if num_ranked > 0:
            scores = _halving_scores(edges.of(roots), noisy_logits, scaled[roots], considered)
            chosen = np.argsort(-scores, axis=1, kind="stable").T[:width]
    return chosen + np.arange(tree.num_roots) * tree.num_actions


def improve_roots(
    tree: Tree, noisy_logits: np.ndarray, value_scale: float, max_visit_init: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Concludes a search by sequential halving.

    Args:
      tree: the tree.
      noisy_logits: see `choose_by_halving`. Shape `[B, K]`.
      value_scale: see `scaled_values`.
      max_visit_init: see `scaled_values`.

    Returns:
      The action of the largest `noisy_logits + sigma(q)` among the most visited `[B]`, the logarithm of
      `softmax(logits + sigma(q))` and `completed_q_values` `[B, K]`.
    """
    edges = tree.edges(tree.roots)
    completed, scaled = _complete(tree, tree.roots, edges, value_scale, max_visit_init)
    scores = _halving_scores(edges, noisy_logits, scaled, edges.visits.max(axis=1))
    improved = np.where(noisy_logits > -np.inf, edges.prior_logits + scaled, -np.inf)
    return scores.argmax(axis=1), log_softmax(improved), completed


def choose_by_puct(tree: Tree, nodes: np.ndarray, pb_c_init: float, pb_c_base: float) -> None:
    """Sets the best edges of nodes to those of the largest `puct`."""
    tree.set_best(nodes, puct(tree, nodes, pb_c_init=pb_c_init, pb_c_base=pb_c_base))


def choose_by_prior(tree: Tree, nodes: np.ndarray) -> None:
    """Sets the best edges of nodes to the most probable ones: what all scores come to without children."""
    tree.set_best(nodes, tree.prior_logits[nodes])


def _complete(
    tree: Tree, nodes: Nodes, edges: Edges, value_scale: float, max_visit_init: float
) -> tuple[np.ndarray, np.ndarray]:
    completed = completed_q_values(edges, tree.raw_values[nodes])
    scaled = scaled_values(edges, completed, value_scale=value_scale, max_visit_init=max_visit_init)
    return completed, scaled


def _halving_scores(
    edges: Edges, noisy_logits: np.ndarray, scaled: np.ndarray, considered: np.ndarray
) -> np.ndarray:
    is_candidate = (edges.visits == considered[:, None]) & (noisy_logits > -np.inf)
    return np.where(is_candidate, np.maximum(LOWEST_SCORE, noisy_logits + scaled), -np.inf)
