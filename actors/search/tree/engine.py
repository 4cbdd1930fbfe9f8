"""The engine of tree search: descend, expand, back up, many simulations at a time.

Simulations of one pass must leave their roots by different actions: then their paths share nothing but the
roots, and one pass over flat arrays serves them all.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from actors.search.tree.tree import Tree, write_nodes


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
    """

    state: np.ndarray
    observation: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    actions: np.ndarray
    prior_logits: np.ndarray
    value: np.ndarray


class SearchModel(Protocol):
    """A simulator, or a learned model, together with a policy and a value function."""

    def expand(self, state: np.ndarray, action: np.ndarray) -> Expansion:
        """Takes one step from each state. Shapes `[M, S]`, `[M, A]`."""
        ...


ChooseFn = Callable[[Tree, np.ndarray], np.ndarray]
"""`(tree, nodes [L]) -> actions [L]`: how simulations leave nodes below the root."""


def simulate(
    tree: Tree, model: SearchModel, root_edges: np.ndarray, choose_fn: ChooseFn, max_depth: int | None = None
) -> None:
    """Makes one pass of simulations.

    Args:
      tree: written to.
      model: expands leaves.
      root_edges: the edge each simulation leaves its root by; no edge twice. Shape `[M]`.
      choose_fn: chooses actions below the root.
      max_depth: edges of a path at most; a node there is evaluated anew at each visit. None for no limit.
    """
    path = _descend(tree, root_edges, max_depth)
    leaf_edges = _last_edges(tree, path)
    nodes = _expand(tree, model, leaf_edges)
    _back_up(tree, path, nodes)
    # Below the root a choice depends on the node alone, so it is made once, when the node has changed.
    changed = np.concatenate([(path[1:] // tree.num_actions).ravel(), nodes])
    changed = changed[changed != tree.sink]
    tree.best_edges[changed] = changed * tree.num_actions + choose_fn(tree, changed)


def _descend(tree: Tree, root_edges: np.ndarray, max_depth: int | None) -> np.ndarray:
    """Follows the best edges down to one without a child. Shape `[D, M]`; the sink's edge after the end."""
    path = [root_edges]
    while max_depth is None or len(path) < max_depth:
        edges = tree.best_edges[tree.children[path[-1]]]
        if (edges == tree.sink * tree.num_actions).all():
            break
        path.append(edges)
    return np.stack(path)


def _last_edges(tree: Tree, path: np.ndarray) -> np.ndarray:
    """Returns the last edge of each path that is not the sink's. Shape `[M]`."""
    depth = (path != tree.sink * tree.num_actions).sum(axis=0)
    return path[depth - 1, np.arange(path.shape[1])]


def _expand(tree: Tree, model: SearchModel, edges: np.ndarray) -> np.ndarray:
    """Evaluates the nodes that edges lead to, new ones mostly; returns them. Shape `[M]`."""
    parents, actions = np.divmod(edges, tree.num_actions)
    expansion = model.expand(tree.states[parents], tree.actions[parents, actions])
    nodes = tree.children[edges]
    is_new = nodes == tree.sink
    nodes = np.where(is_new, _new_nodes(tree, parents // tree.num_nodes, is_new), nodes)
    write_nodes(
        tree,
        nodes,
        expansion.state,
        expansion.observation,
        expansion.actions,
        expansion.prior_logits,
        expansion.value,
    )
    tree.node_visits[nodes] += 1.0
    tree.children[edges] = nodes
    tree.parent_edges[nodes] = edges
    tree.rewards[parents, actions] = expansion.reward
    tree.discounts[parents, actions] = expansion.discount
    return nodes


def _new_nodes(tree: Tree, roots: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """Returns the next free row of each simulation's root, counted in the order of the simulations."""
    order = np.argsort(roots, kind="stable")
    taken = is_new[order].cumsum() - is_new[order]
    first = np.searchsorted(roots[order], roots[order])
    rank = np.empty(len(roots), np.int64)
    rank[order] = taken - taken[first]
    rows = roots * tree.num_nodes + tree.num_expanded[roots] + rank
    np.add.at(tree.num_expanded, roots, is_new)
    return rows


def _back_up(tree: Tree, path: np.ndarray, leaves: np.ndarray) -> None:
    """Carries the leaves' values up their paths: `G = reward + discount G`, and running means of it."""
    parents, actions = np.divmod(path, tree.num_actions)
    rewards, discounts = tree.rewards[parents, actions], tree.discounts[parents, actions]
    returns = np.empty(path.shape)
    value = tree.node_values[leaves]
    for depth in range(len(path) - 1, -1, -1):
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
    children = tree.children[path]
    tree.child_values[parents, actions] = tree.node_values[children]
    tree.edge_visits[parents, actions] += 1.0
    _reset_sink(tree)


def _reset_sink(tree: Tree) -> None:
    sink = tree.sink
    tree.node_visits[sink] = tree.node_values[sink] = 0.0
    tree.edge_visits[sink] = tree.child_values[sink] = 0.0
