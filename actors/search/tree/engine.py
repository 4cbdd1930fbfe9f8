"""The engine of tree search: descend, expand, back up, many simulations at a time.

Simulations of one pass must leave their roots by different actions: then their paths share nothing but the
roots, and one pass over flat arrays serves them all.
"""

from typing import Protocol

import numpy as np

from actors.search.tree.kernels import Kernels
from actors.search.tree.tree import Expansion, Nodes, Tree, write_prior


class SearchModel(Protocol):
    """A simulator, or a learned model, together with a policy and a value function."""

    def expand(self, state: np.ndarray, action: np.ndarray) -> Expansion:
        """Takes one step from each state. Shapes `[M, S]`, `[M, A]`."""
        ...


def simulate(
    tree: Tree,
    model: SearchModel,
    root_edges: np.ndarray,
    num_before: int,
    kernels: Kernels,
    max_depth: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes one pass of `W` simulations of each root, which follow `tree.best_edges` below the roots.

    The `i`-th simulation of a root makes its node `i`, as in mctx. Where the deepest edge allowed has a node
    already, that is evaluated anew, and the row is left out.

    Args:
      tree: written to.
      model: expands leaves.
      root_edges: the edges that simulations leave the roots by; no edge twice. Shape `[W, B]`.
      num_before: simulations of each root that were made before.
      kernels: inner loops.
      max_depth: edges of a path at most; a node there is evaluated anew at each visit. None for no limit.

    Returns:
      The nodes between roots and leaves that have changed, and the leaves. A choice there depends on the node
      alone: whoever makes another pass sets their `best_edges` first. Shapes `[L]`, `[W B]`.
    """
    edges, trace = kernels.descend(tree, root_edges.reshape(-1), max_depth)
    parents = edges // tree.num_actions
    actions = tree.actions.reshape(-1, tree.actions.shape[2]).take(edges, axis=0)
    expansion = model.expand(tree.states.take(parents, axis=0), actions)
    if expansion.is_lost is not None:
        expansion = _without_losses(tree, expansion, expansion.is_lost)
    first = (num_before + 1) * tree.num_roots
    new = np.arange(first, first + len(edges))
    leaves = new
    rows: Nodes = slice(first, first + len(edges))
    if max_depth is not None:
        children = tree.children.reshape(-1)[edges]
        leaves = rows = np.where(children == tree.sink, new, children)
    _write(tree, rows, expansion)
    tree.children.reshape(-1)[edges] = leaves
    tree.parents[rows] = parents
    return kernels.back_up(tree, trace, leaves), leaves


def _write(tree: Tree, nodes: Nodes, expansion: Expansion) -> None:
    write_prior(tree, nodes, expansion.prior_logits)
    tree.states[nodes] = expansion.state
    tree.observations[nodes] = expansion.observation
    tree.actions[nodes, : expansion.actions.shape[1]] = expansion.actions
    tree.rewards[nodes] = expansion.reward
    tree.discounts[nodes] = expansion.discount
    tree.raw_values[nodes] = expansion.value
    tree.node_values[nodes] = expansion.value
    tree.node_visits[nodes] += 1.0


def _without_losses(tree: Tree, expansion: Expansion, is_lost: np.ndarray) -> Expansion:
    """Returns the expansion with lost steps worth as little as the worst sound one of their root."""
    worth = np.where(is_lost, np.inf, expansion.reward + expansion.discount * expansion.value)
    worst = worth.reshape(-1, tree.num_roots).min(axis=0)
    np.minimum(tree.worst_values, worst, out=tree.worst_values)
    if not is_lost.any():
        return expansion
    worst_values = np.tile(tree.worst_values, len(is_lost) // tree.num_roots)
    return expansion._replace(
        reward=np.where(is_lost, worst_values, expansion.reward),
        discount=np.where(is_lost, 0.0, expansion.discount),
        value=np.where(is_lost, 0.0, expansion.value),
    )
