"""Scores of actions at nodes of a tree: completed values, PUCT.

`L` nodes, `K` actions. Sources: Schrittwieser et al. (2020), "Mastering Atari, Go, chess and shogi by
planning with a learned model", Appendix B (PUCT); Danihelka et al. (2022), "Policy improvement by planning
with Gumbel" (completed values), with the constants of mctx.
"""

import numpy as np

from actors.search.tree.tree import Tree

_SMALLEST_RANGE = 1e-8


def completed_values(
    tree: Tree, nodes: np.ndarray, *, value_scale: float = 0.1, max_visit_init: float = 50.0
) -> np.ndarray:
    """Computes `sigma(q)` of Gumbel MuZero: values of all actions of a node, on the scale of logits.

    Unvisited actions get the mixed value `(v + n sum_vis(p q) / sum_vis(p)) / (1 + n)`; then
    `sigma(q) = (max_visit_init + max_b n_b) value_scale (q - min q) / (max q - min q)`.
    Source: Danihelka et al. (2022), Eq. (8), (33) and Appendix D; rescaling as mctx.

    Args:
      tree: the tree.
      nodes: shape `[L]`.
      value_scale: factor of the rescaled values.
      max_visit_init: visits added to the largest number of visits.

    Returns:
      Shape `[L, K]`.
    """
    visits = tree.edge_visits[nodes]
    q_values = tree.q_values(nodes)
    is_visited = visits > 0
    prior = np.where(is_visited, np.maximum(tree.prior_probs[nodes], np.finfo(np.float32).tiny), 0.0)
    mass = prior.sum(axis=1)
    visited_mean = (prior * q_values).sum(axis=1) / np.where(mass > 0, mass, 1.0)
    num_visits = visits.sum(axis=1)
    mixed = (tree.raw_values[nodes] + num_visits * visited_mean) / (num_visits + 1.0)
    completed = np.where(is_visited, q_values, mixed[:, None])
    low, high = completed.min(axis=1, keepdims=True), completed.max(axis=1, keepdims=True)
    rescaled = (completed - low) / np.maximum(high - low, _SMALLEST_RANGE)
    return (max_visit_init + visits.max(axis=1, keepdims=True)) * value_scale * rescaled


def best_deterministic(tree: Tree, nodes: np.ndarray, completed: np.ndarray) -> np.ndarray:
    """Returns the action whose visits lag most behind the improved policy at each node.

    `argmax softmax(logits + sigma(q)) - n_a / (1 + sum_b n_b)`. Source: Danihelka et al. (2022), Eq. (14).

    Args:
      tree: the tree.
      nodes: shape `[L]`.
      completed: their `completed_values`. Shape `[L, K]`.

    Returns:
      Indices of actions. Shape `[L]`.
    """
    logits = tree.prior_logits[nodes] + completed
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    visits = tree.edge_visits[nodes]
    return np.argmax(probs - visits / (1.0 + visits.sum(axis=1, keepdims=True)), axis=1)


def puct(
    tree: Tree, nodes: np.ndarray, *, pb_c_init: float = 1.25, pb_c_base: float = 19_652.0
) -> np.ndarray:
    """Computes PUCT scores, with values rescaled by those of the node and its children.

    `q' + sqrt(n) (c1 + ln((n + c2 + 1) / c2)) p_a / (1 + n_a)`, where `n` counts the node's own visit and
    `q'` is 0 for unvisited actions. Source: Schrittwieser et al. (2020), Appendix B, Eq. (2) and (5).

    Args:
      tree: the tree.
      nodes: shape `[L]`.
      pb_c_init: c1.
      pb_c_base: c2.

    Returns:
      Shape `[L, K]`.
    """
    visits = tree.edge_visits[nodes]
    is_visited = visits > 0
    value = tree.node_values[nodes][:, None]
    known = np.where(is_visited, tree.q_values(nodes), value)
    low = np.minimum(known.min(axis=1, keepdims=True), value)
    high = np.maximum(known.max(axis=1, keepdims=True), value)
    rescaled = np.where(is_visited, (known - low) / np.maximum(high - low, _SMALLEST_RANGE), 0.0)
    num_visits = tree.node_visits[nodes][:, None]
    weight = np.sqrt(num_visits) * (pb_c_init + np.log((num_visits + pb_c_base + 1.0) / pb_c_base))
    return rescaled + weight * tree.prior_probs[nodes] / (1.0 + visits)
