"""The engine of tree search: descend, expand, back up, many simulations at a time.

Simulations of one pass must leave their roots by different actions: then their paths share nothing but the
roots, and one pass over flat arrays serves them all.
"""

from typing import Protocol

import numpy as np

from actors.search.tree.kernels import Kernels
from actors.search.tree.tree import Expansion, Tree


class SearchModel(Protocol):
    """A simulator, or a learned model, together with a policy and a value function."""

    def expand(self, state: np.ndarray, action: np.ndarray) -> Expansion:
        """Takes one step from each state. Shapes `[M, S]`, `[M, A]`."""
        ...


def simulate(
    tree: Tree, model: SearchModel, root_edges: np.ndarray, kernels: Kernels, max_depth: int | None = None
) -> np.ndarray:
    """Makes one pass of simulations, which follow `tree.best_edges` below the roots.

    Args:
      tree: written to.
      model: expands leaves.
      root_edges: the edge each simulation leaves its root by; no edge twice. Shape `[M]`.
      kernels: inner loops.
      max_depth: edges of a path at most; a node there is evaluated anew at each visit. None for no limit.

    Returns:
      The nodes below the roots that have changed, sorted. A choice there depends on the node alone: whoever
      makes another pass sets their `best_edges` first.
    """
    edges, trace = kernels.descend(tree, root_edges, max_depth)
    parents = edges // tree.num_actions
    actions = tree.actions.reshape(-1, tree.actions.shape[2]).take(edges, axis=0)
    expansion = model.expand(tree.states.take(parents, axis=0), actions)
    if expansion.is_lost is not None:
        expansion = _without_losses(tree, parents // tree.num_nodes, expansion, expansion.is_lost)
    nodes = kernels.expand(tree, edges, expansion)
    tree.is_alive[nodes] = tree.is_alive[parents] & (expansion.discount > 0.0)
    tree.states[nodes] = expansion.state
    tree.observations[nodes] = expansion.observation
    tree.actions[nodes, : expansion.actions.shape[1]] = expansion.actions
    return np.sort(kernels.back_up(tree, trace, nodes))


def _without_losses(tree: Tree, roots: np.ndarray, expansion: Expansion, is_lost: np.ndarray) -> Expansion:
    """Returns the expansion with lost steps worth as little as the worst sound one of their root."""
    worth = np.where(is_lost, np.inf, expansion.reward + expansion.discount * expansion.value)
    np.minimum.at(tree.worst_values, roots, worth)
    if not is_lost.any():
        return expansion
    return expansion._replace(
        reward=np.where(is_lost, tree.worst_values[roots], expansion.reward),
        discount=np.where(is_lost, 0.0, expansion.discount),
        value=np.where(is_lost, 0.0, expansion.value),
    )
