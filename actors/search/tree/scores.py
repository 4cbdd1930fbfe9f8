"""Scores of actions at nodes of a tree: completed values, PUCT, the regularised policy.

`L` nodes, `K` actions. Sources: Schrittwieser et al. (2020), "Mastering Atari, Go, chess and shogi by
planning with a learned model", Appendix B (PUCT); Danihelka et al. (2022), "Policy improvement by planning
with Gumbel" (completed values), with the constants of mctx.
"""

import numpy as np

from actors.search.tree.tree import Edges, Nodes, Tree

SMALLEST_RANGE = 1e-8
"""Values that differ by less are the same to a search."""

SMALLEST_PRIOR = float(np.finfo(np.float32).tiny)
"""Visited actions count at least as much as one so much less probable than the most probable one."""

_NUM_BISECTIONS = 40


def completed_q_values(edges: Edges, raw_values: np.ndarray) -> np.ndarray:
    """Computes the values of all actions of a node, visited or not, in reward units.

    Unvisited actions get the mixed value `(v + n sum_vis(p q) / sum_vis(p)) / (1 + n)`. Source: Danihelka et
    al. (2022), Eq. (8), (33) and Appendix D.

    Args:
      edges: of `L` nodes.
      raw_values: values that these were expanded with. Shape `[L]`.

    Returns:
      Shape `[L, K]`.
    """
    is_visited = np.minimum(edges.visits, 1.0)
    weights = np.exp(edges.prior_logits - edges.prior_logits.max(axis=1, keepdims=True))
    np.maximum(weights, SMALLEST_PRIOR, out=weights)
    weights *= is_visited
    mass = np.maximum(weights.sum(axis=1), SMALLEST_PRIOR)
    weights *= edges.q_values
    num_visits = edges.visits.sum(axis=1)
    mixed = (raw_values + num_visits * (weights.sum(axis=1) / mass)) / (num_visits + 1.0)
    return edges.q_values + (1.0 - is_visited) * mixed[:, None]


def scaled_values(
    edges: Edges, completed: np.ndarray, *, value_scale: float = 0.1, max_visit_init: float = 50.0
) -> np.ndarray:
    """Computes `sigma(q)` of Gumbel MuZero: values of all actions of a node, on the scale of logits.

    `sigma(q) = (max_visit_init + max_b n_b) value_scale (q - min q) / (max q - min q)`, over the actions that
    the node has. Source: Danihelka et al. (2022), Eq. (8); rescaling as mctx.

    Args:
      edges: of `L` nodes.
      completed: their `completed_q_values`. Shape `[L, K]`.
      value_scale: factor of the rescaled values.
      max_visit_init: visits added to the largest number of visits.

    Returns:
      Shape `[L, K]`.
    """
    least, largest = completed, completed
    is_offered = edges.prior_logits > -np.inf
    if not is_offered.all():
        least, largest = np.where(is_offered, completed, np.inf), np.where(is_offered, completed, -np.inf)
    low, high = least.min(axis=1, keepdims=True), largest.max(axis=1, keepdims=True)
    most_visits = edges.visits.max(axis=1, keepdims=True)
    scale = (max_visit_init + most_visits) * value_scale / np.maximum(high - low, SMALLEST_RANGE)
    return np.asarray(scale * (completed - low))


def visit_lag(edges: Edges, scaled: np.ndarray) -> np.ndarray:
    """Computes by how much the visits of each action lag behind the improved policy.

    `softmax(logits + sigma(q)) - n_a / (1 + sum_b n_b)`. Source: Danihelka et al. (2022), Eq. (14).

    Args:
      edges: of `L` nodes.
      scaled: their `scaled_values`. Shape `[L, K]`.

    Returns:
      Shape `[L, K]`.
    """
    visits = edges.visits
    return softmax(edges.prior_logits + scaled) - visits / (1.0 + visits.sum(axis=1, keepdims=True))


def puct(tree: Tree, nodes: Nodes, *, pb_c_init: float = 1.25, pb_c_base: float = 19_652.0) -> np.ndarray:
    """Computes PUCT scores, with values rescaled by those of the node and its children.

    `q' + sqrt(n) (c1 + ln((n + c2 + 1) / c2)) p_a / (1 + n_a)`, where `n` counts the node's own visit and
    `q'` is 0 for unvisited actions. Source: Schrittwieser et al. (2020), Appendix B, Eq. (2) and (5).

    Args:
      tree: the tree.
      nodes: `L` of its rows.
      pb_c_init: c1.
      pb_c_base: c2.

    Returns:
      Shape `[L, K]`.
    """
    edges = tree.edges(nodes)
    rescaled = np.where(edges.visits > 0.0, _rescaled_by_children(edges, tree.node_values[nodes]), 0.0)
    num_visits = tree.node_visits[nodes][:, None]
    weight = np.sqrt(num_visits) * (pb_c_init + np.log((num_visits + pb_c_base + 1.0) / pb_c_base))
    return rescaled + weight * softmax(edges.prior_logits) / (1.0 + edges.visits)


def regularized_policy(tree: Tree, nodes: Nodes, *, exploration: float = 1.25) -> np.ndarray:
    """Computes the policy that a search with visit counts tracks, in closed form.

    `argmax_y q . y - lambda KL(p || y) = lambda p_a / (alpha - q_a)`, `lambda = c sqrt(n) / (K + n)` with `n`
    visits of the node's actions; values are rescaled by those of the node and its children, and unvisited
    actions have the node's own. Source: Grill et al. (2020), "Monte-Carlo tree search as regularized policy
    optimization", Eq. (5), (8) and Proposition 1.

    Args:
      tree: the tree.
      nodes: `L` of its rows.
      exploration: `c`.

    Returns:
      Probabilities. Shape `[L, K]`.
    """
    edges = tree.edges(nodes)
    prior = softmax(edges.prior_logits)
    num_visits = edges.visits.sum(axis=1)
    num_actions = (prior > 0.0).sum(axis=1)
    weight = exploration * np.sqrt(num_visits) / (num_actions + num_visits)
    return solve_regularized(_rescaled_by_children(edges, tree.node_values[nodes]), prior, weight)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities. Shape `[L, K]`."""
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    return np.asarray(probs)


def solve_regularized(q_values: np.ndarray, prior: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Solves `argmax_y q . y - weight KL(prior || y)` over distributions `y`, by bisection on `alpha`.

    `y_a = weight prior_a / (alpha - q_a)`, with `alpha` between `max_a(q_a + weight prior_a)` and
    `max_a q_a + weight` such that `y` sums to one; the prior itself where `weight` is 0.
    Source: Grill et al. (2020), Proposition 1 and Appendix B.3.

    Args:
      q_values: shape `[L, K]`.
      prior: probabilities. Shape `[L, K]`.
      weight: at least 0. Shape `[L]`.

    Returns:
      Shape `[L, K]`.
    """
    is_free = weight <= 0.0
    scaled = np.where(is_free, 1.0, weight)[:, None] * prior
    taken = np.where(prior > 0.0, q_values, -np.inf)
    low = (taken + scaled).max(axis=1)
    high = taken.max(axis=1) + scaled.sum(axis=1)
    for _ in range(_NUM_BISECTIONS):
        middle = 0.5 * (low + high)
        is_low = _regularized(scaled, q_values, middle).sum(axis=1) > 1.0
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    policy = np.where(is_free[:, None], prior, _regularized(scaled, q_values, high))
    return np.asarray(policy / policy.sum(axis=1, keepdims=True))


def _regularized(scaled_prior: np.ndarray, q_values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    is_taken = scaled_prior > 0.0
    return np.where(is_taken, scaled_prior / np.where(is_taken, alpha[:, None] - q_values, 1.0), 0.0)


def _rescaled_by_children(edges: Edges, node_values: np.ndarray) -> np.ndarray:
    """Returns values on [0, 1], from the least to the largest of a node's own and its visited children's.

    Unvisited actions have the node's own. Source: `qtransform_by_parent_and_siblings` of mctx.
    """
    value = node_values[:, None]
    known = np.where(edges.visits > 0.0, edges.q_values, value)
    low = np.minimum(known.min(axis=1, keepdims=True), value)
    high = np.maximum(known.max(axis=1, keepdims=True), value)
    return np.asarray((known - low) / np.maximum(high - low, SMALLEST_RANGE))
