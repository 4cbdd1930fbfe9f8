"""The engine of tree search: descend, expand, back up, many simulations at a time.

Simulations of one pass must leave their roots by different actions: then their paths share nothing but the
roots, and one pass over flat arrays serves them all.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from actors.search.tree.kernels import Kernels
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
    tree: Tree,
    model: SearchModel,
    root_edges: np.ndarray,
    choose_fn: ChooseFn,
    kernels: Kernels,
    max_depth: int | None = None,
) -> None:
    """Makes one pass of simulations.

    Args:
      tree: written to.
      model: expands leaves.
      root_edges: the edge each simulation leaves its root by; no edge twice. Shape `[M]`.
      choose_fn: chooses actions below the root.
      kernels: inner loops.
      max_depth: edges of a path at most; a node there is evaluated anew at each visit. None for no limit.
    """
    leaf_edges, trace = kernels.descend(tree, root_edges, max_depth)
    nodes = _expand(tree, model, leaf_edges)
    # Below the root a choice depends on the node alone, so it is made once, when the node has changed.
    # Sorted, so that choices that are drawn do not depend on the kernels.
    changed = np.sort(kernels.back_up(tree, trace, nodes))
    tree.best_edges[changed] = changed * tree.num_actions + choose_fn(tree, changed)


def _expand(tree: Tree, model: SearchModel, edges: np.ndarray) -> np.ndarray:
    """Evaluates the nodes that edges lead to, new ones mostly; returns them. Shape `[M]`."""
    parents, actions = np.divmod(edges, tree.num_actions)
    expansion = model.expand(tree.states[parents], tree.actions[parents, actions])
    nodes = tree.children[edges]
    nodes = np.where(nodes == tree.sink, _next_rows(tree, parents // tree.num_nodes), nodes)
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


def _next_rows(tree: Tree, roots: np.ndarray) -> np.ndarray:
    """Returns a row for each simulation, in their order at each root, whether it is needed or not.

    So the `i`-th simulation of a root makes node `i + 1`, as in mctx.
    """
    order = np.argsort(roots, kind="stable")
    rank = np.empty(len(roots), np.int64)
    rank[order] = np.arange(len(roots)) - np.searchsorted(roots[order], roots[order])
    rows = roots * tree.num_nodes + tree.num_simulations[roots] + 1 + rank
    np.add.at(tree.num_simulations, roots, 1)
    return rows
