"""The search tree: flat arrays over all roots, with one row too many."""

import dataclasses
from typing import NamedTuple

import numpy as np

from distill_rl.checks import check_shape

LOWEST_LOGIT = float(np.finfo(np.float32).min)
"""Of actions that must not be taken, as in mctx: finite, so that differences of logits stay defined."""


class Expansion(NamedTuple):
    """What a model says about `M` new nodes.

    Attributes:
      state: shape `[M, S]`.
      observation: shape `[M, O]`.
      reward: of the step that led there. Shape `[M]`.
      discount: of that step; 0 where it ended the episode. Shape `[M]`.
      actions: candidates from there on, at most as many as at the root. Shape `[M, k, A]`.
      prior_logits: of these actions. Shape `[M, k]`.
      value: of the new state. Shape `[M]`.
      is_lost: where the step failed: it ends the episode, worth as little as the worst one seen below its
        root. Shape `[M]`; None for models whose steps do not fail.
    """

    state: np.ndarray
    observation: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    actions: np.ndarray
    prior_logits: np.ndarray
    value: np.ndarray
    is_lost: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Tree:
    """Statistics of a search over `B` roots with up to `N` nodes each and `K` actions a node.

    Node `i` of root `b` is row `b N + i`; its root is row `b N`. The edge of action `k` at a node is
    `node K + k`. The last row, the *sink*, belongs to no root: whatever points nowhere points there, and so
    do its own edges, with reward 0 and discount 1. That makes every gather and scatter valid without masks.

    The arrays are written to as the search goes on.

    Attributes:
      num_roots: `B`.
      num_nodes: `N`, rows of each root.
      num_actions: `K`.
      node_visits: simulations that passed through each node, the one that made it included. Shape `[R]`,
        `R = B N + 1`.
      raw_values: value that each node was expanded with. Shape `[R]`.
      node_values: mean return of the simulations through each node. Shape `[R]`.
      parent_edges: edge that leads to each node; the sink's for roots. Shape `[R]`.
      states: model states. Shape `[R, S]`.
      observations: of these states. Shape `[R, O]`.
      actions: candidate actions. Shape `[R, K, A]`.
      children: node that each edge leads to; the sink where there is none yet. Shape `[R K]`.
      prior_logits: of the actions at their node; very low where invalid, `-inf` where the node has fewer
        actions than the root. Shape `[R, K]`.
      prior_probs: their softmax. Shape `[R, K]`.
      edge_visits: visits of each edge. Shape `[R, K]`.
      rewards: of each edge. Shape `[R, K]`.
      discounts: of each edge; 0 where it ended the episode. Shape `[R, K]`.
      child_values: `node_values` of the node each edge leads to. Shape `[R, K]`.
      best_edges: edge that a simulation leaves each node by. Shape `[R]`.
      is_alive: whether no edge to the node ended the episode. Shape `[R]`.
      worst_values: least `reward + discount value` of the sound edges of each root, or its own value. Shape
        `[B]`.
      num_simulations: made so far from each root. Shape `[B]`.
    """

    num_roots: int
    num_nodes: int
    num_actions: int
    node_visits: np.ndarray  # [R]
    raw_values: np.ndarray  # [R]
    node_values: np.ndarray  # [R]
    parent_edges: np.ndarray  # [R]
    states: np.ndarray  # [R, S]
    observations: np.ndarray  # [R, O]
    actions: np.ndarray  # [R, K, A]
    children: np.ndarray  # [R K]
    prior_logits: np.ndarray  # [R, K]
    prior_probs: np.ndarray  # [R, K]
    edge_visits: np.ndarray  # [R, K]
    rewards: np.ndarray  # [R, K]
    discounts: np.ndarray  # [R, K]
    child_values: np.ndarray  # [R, K]
    best_edges: np.ndarray  # [R]
    is_alive: np.ndarray  # [R]
    worst_values: np.ndarray  # [B]
    num_simulations: np.ndarray  # [B]

    @property
    def sink(self) -> int:
        """Row of the node that belongs to no root."""
        return self.num_roots * self.num_nodes

    @property
    def roots(self) -> np.ndarray:
        """Rows of the roots. Shape `[B]`."""
        return np.arange(self.num_roots) * self.num_nodes

    def q_values(self, nodes: np.ndarray) -> np.ndarray:
        """Returns `reward + discount * value` of some nodes' edges; 0 where unvisited. Shape `[L, K]`."""
        return self.rewards[nodes] + self.discounts[nodes] * self.child_values[nodes]


def make_tree(
    state: np.ndarray,
    observation: np.ndarray,
    actions: np.ndarray,
    prior_logits: np.ndarray,
    value: np.ndarray,
    num_simulations: int,
) -> Tree:
    """Returns a tree of roots only, each visited once.

    Args:
      state: model states of the roots. Shape `[B, S]`.
      observation: of these states; `O` may be 0. Shape `[B, O]`.
      actions: their candidate actions. Shape `[B, K, A]`.
      prior_logits: of these actions. Shape `[B, K]`.
      value: of the roots. Shape `[B]`.
      num_simulations: nodes to leave room for, beside the root.

    Raises:
      ValueError: if a shape is wrong, or a logit is not finite, naming its row.
    """
    num_roots, num_actions, action_size = actions.shape
    check_shape("prior_logits", prior_logits, (num_roots, num_actions))
    check_shape("value", value, (num_roots,))
    num_nodes = num_simulations + 1
    rows = num_roots * num_nodes + 1
    sink = rows - 1
    # One block each, zeroed at once: making a tree is a good part of a short search.
    per_node = np.zeros((3, rows))
    per_edge = np.zeros((6, rows, num_actions))
    per_edge[1, sink] = 1.0 / num_actions
    per_edge[4, sink] = 1.0
    tree = Tree(
        num_roots=num_roots,
        num_nodes=num_nodes,
        num_actions=num_actions,
        node_visits=per_node[0],
        raw_values=per_node[1],
        node_values=per_node[2],
        parent_edges=np.full(rows, sink * num_actions),
        states=np.empty((rows, *state.shape[1:]), state.dtype),
        observations=np.zeros((rows, observation.shape[1]), np.float32),
        actions=np.empty((rows, num_actions, action_size), actions.dtype),
        children=np.full(rows * num_actions, sink),
        prior_logits=per_edge[0],
        prior_probs=per_edge[1],
        edge_visits=per_edge[2],
        rewards=per_edge[3],
        discounts=per_edge[4],
        child_values=per_edge[5],
        best_edges=np.full(rows, sink * num_actions),
        is_alive=np.ones(rows, bool),
        worst_values=np.array(value, np.float64),
        num_simulations=np.zeros(num_roots, np.int64),
    )
    roots = tree.roots
    tree.states[roots], tree.observations[roots], tree.actions[roots] = state, observation, actions
    write_prior(tree, roots, prior_logits)
    tree.raw_values[roots] = tree.node_values[roots] = value
    tree.node_visits[roots] = 1.0
    return tree


def write_prior(tree: Tree, nodes: np.ndarray, prior_logits: np.ndarray) -> None:
    """Sets the prior of the first `k` actions of some nodes; the others are never taken.

    Shapes `[L]`, `[L, k]`.

    Raises:
      ValueError: if a logit is not finite, naming its row.
    """
    check_logits(prior_logits)
    count = prior_logits.shape[1]
    tree.prior_logits[nodes, :count] = prior_logits
    tree.prior_logits[nodes, count:] = -np.inf
    weights = np.exp(prior_logits - prior_logits.max(axis=1, keepdims=True))
    tree.prior_probs[nodes, :count] = weights / weights.sum(axis=1, keepdims=True)
    tree.prior_probs[nodes, count:] = 0.0


def check_logits(prior_logits: np.ndarray) -> None:
    """Checks that logits `[L, k]` are finite.

    Raises:
      ValueError: if one is not, naming its row.
    """
    is_finite = np.isfinite(prior_logits)
    if not is_finite.all():
        row = int(is_finite.all(axis=1).argmin())
        raise ValueError(f"`prior_logits` must be finite, got {prior_logits[row]} in row {row}")
