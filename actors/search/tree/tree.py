"""The search tree: flat arrays over all roots, with one row too many."""

import dataclasses
import math
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


class Edges(NamedTuple):
    """What a tree knows about all edges of `L` nodes.

    Attributes:
      visits: shape `[L, K]`.
      q_values: `reward + discount * value`; 0 where unvisited. Shape `[L, K]`.
      prior_logits: see `Tree`. Shape `[L, K]`.
    """

    visits: np.ndarray
    q_values: np.ndarray
    prior_logits: np.ndarray

    def of(self, part: slice) -> "Edges":
        """Returns those of some of the nodes."""
        return Edges(self.visits[part], self.q_values[part], self.prior_logits[part])


Nodes = np.ndarray | slice
"""Rows of a tree, by index. A slice takes views."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """Statistics of a search over `B` roots with up to `N` nodes each and `K` actions a node.

    Node `i` of root `b` is row `i B + b`, so that the roots are the first rows, and what one pass of a search
    adds is one block. The edge of action `k` at a node is `node K + k`. Whatever is known about an edge is
    kept at the one node it leads to. The last row, the *sink*, belongs to no root: whatever points nowhere
    points there, and so do its own edges, with reward 0, discount 1 and no visit. That makes every gather
    valid without masks.

    The arrays are written to as the search goes on.

    Attributes:
      num_roots: `B`.
      num_nodes: `N`, rows of each root.
      num_actions: `K`.
      node_visits: simulations that passed through each node, the one that made it included. Shape `[R]`,
        `R = N B + 1`.
      raw_values: value that each node was expanded with. Shape `[R]`.
      node_values: mean return of the simulations through each node. Shape `[R]`.
      rewards: of the edge to each node. Shape `[R]`.
      discounts: of that edge; 0 where it ended the episode. Shape `[R]`.
      q_values: of that edge, `reward + discount * value`. Shape `[R]`.
      parents: node that each node was reached from; the sink for roots. Shape `[R]`.
      best_edges: edge that a simulation leaves each node by. Shape `[R]`.
      states: model states. Shape `[R, S]`.
      observations: of these states. Shape `[R, O]`.
      actions: candidate actions. Shape `[R, K, A]`.
      children: node that each edge leads to; the sink where there is none yet. Shape `[R, K]`.
      prior_logits: of the actions at their node; very low where invalid, `-inf` where the node has fewer
        actions than the root. Shape `[R, K]`.
      worst_values: least `reward + discount value` of the sound edges of each root, or its own value. Shape
        `[B]`.
    """

    num_roots: int
    num_nodes: int
    num_actions: int
    node_visits: np.ndarray  # [R]
    raw_values: np.ndarray  # [R]
    node_values: np.ndarray  # [R]
    rewards: np.ndarray  # [R]
    discounts: np.ndarray  # [R]
    q_values: np.ndarray  # [R]
    parents: np.ndarray  # [R]
    best_edges: np.ndarray  # [R]
    states: np.ndarray  # [R, S]
    observations: np.ndarray  # [R, O]
    actions: np.ndarray  # [R, K, A]
    children: np.ndarray  # [R, K]
    prior_logits: np.ndarray  # [R, K]
    worst_values: np.ndarray  # [B]

    @property
    def sink(self) -> int:
        """Row of the node that belongs to no root."""
        return self.num_roots * self.num_nodes

    @property
    def roots(self) -> slice:
        """Rows of the roots, `B` of them."""
        return slice(0, self.num_roots)

    def edges(self, nodes: Nodes) -> Edges:
        """Returns what is known about the edges of `L` nodes."""
        # In Fortran's order: numpy reduces over the few actions much faster when nodes lie side by side.
        children = np.asfortranarray(self.children[nodes])
        prior_logits = np.asfortranarray(self.prior_logits[nodes])
        return Edges(self.node_visits[children], self.q_values[children], prior_logits)

    def set_best(self, nodes: np.ndarray, scores: np.ndarray) -> None:
        """Lets simulations leave nodes by their actions of the largest scores. Shapes `[L]`, `[L, K]`."""
        self.best_edges[nodes] = nodes * self.num_actions + scores.argmax(axis=1)

    def is_alive(self) -> np.ndarray:
        """Returns whether no edge from the root to each node ended the episode. Shape `[R]`."""
        is_alive, ancestors = self.discounts > 0.0, self.parents
        is_alive[self.roots] = True
        # Each turn looks twice as far up, until every ancestor is the sink.
        while (ancestors != self.sink).any():
            is_alive &= is_alive[ancestors]
            ancestors = ancestors[ancestors]
        return is_alive


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
      ValueError: if a shape is wrong, or a logit or a value is not finite, naming its row.
    """
    num_roots, num_actions, action_size = actions.shape
    check_shape("prior_logits", prior_logits, (num_roots, num_actions))
    check_shape("value", value, (num_roots,))
    if not math.isfinite(value.sum()):
        row = int(np.isfinite(value).argmin())
        raise ValueError(f"`value` must be finite, got {value[row]} in row {row}")
    sink = num_roots * (num_simulations + 1)
    rows = sink + 1
    # Making a tree is a good part of a short search: what is written before it is read is left unset.
    node_visits, raw_values, node_values, rewards, discounts, q_values = np.zeros((6, rows))
    parents, best_edges = np.empty((2, rows), np.int64)
    children = np.empty((rows, num_actions), np.int64)
    parents.fill(sink)
    children.fill(sink)
    best_edges[sink], discounts[sink] = sink * num_actions, 1.0
    tree = Tree(
        num_roots=num_roots,
        num_nodes=num_simulations + 1,
        num_actions=num_actions,
        node_visits=node_visits,
        raw_values=raw_values,
        node_values=node_values,
        rewards=rewards,
        discounts=discounts,
        q_values=q_values,
        parents=parents,
        best_edges=best_edges,
        states=np.empty((rows, *state.shape[1:]), state.dtype),
        observations=np.zeros((rows, observation.shape[1]), np.float32),
        actions=np.empty((rows, num_actions, action_size), actions.dtype),
        children=children,
        prior_logits=np.empty((rows, num_actions)),
        worst_values=np.array(value, np.float64),
    )
    roots = tree.roots
    tree.states[roots], tree.observations[roots], tree.actions[roots] = state, observation, actions
    write_prior(tree, roots, prior_logits)
    tree.raw_values[roots] = tree.node_values[roots] = value
    tree.node_visits[roots] = 1.0
    return tree


def write_prior(tree: Tree, nodes: Nodes, prior_logits: np.ndarray) -> None:
    """Sets the prior of the first `k` actions of some nodes; the others are never taken. Shape `[L, k]`.

    Raises:
      ValueError: if a logit is not finite, naming its row, or there are more of them than actions of a node.
    """
    check_logits(prior_logits)
    count = prior_logits.shape[1]
    if count > tree.num_actions:
        raise ValueError(f"`prior_logits` must be of at most {tree.num_actions} actions a node, got {count}")
    tree.prior_logits[nodes, :count] = prior_logits
    if count < tree.num_actions:
        tree.prior_logits[nodes, count:] = -np.inf


def check_logits(prior_logits: np.ndarray) -> None:
    """Checks that logits `[L, k]` are finite.

    Raises:
      ValueError: if one is not, naming its row.
    """
    is_finite = np.isfinite(prior_logits)
    if not is_finite.all():
        row = int(is_finite.all(axis=1).argmin())
        raise ValueError(f"`prior_logits` must be finite, got {prior_logits[row]} in row {row}")
