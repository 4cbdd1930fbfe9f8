"""Search that samples from the closed form of the policy that visit counts track."""

import numpy as np

from actors.search.tree.engine import SearchModel, simulate
from actors.search.tree.kernels import find_kernels
from actors.search.tree.result import TreeSearchResult, check_search, conclude, mask_logits
from actors.search.tree.scores import completed_q_values, regularized_policy
from actors.search.tree.tree import Tree


def regularized_search(
    tree: Tree,
    model: SearchModel,
    generator: np.random.Generator,
    *,
    invalid_actions: np.ndarray | None = None,
    num_simulations: int,
    max_depth: int | None = None,
    exploration: float = 1.25,
) -> TreeSearchResult:
    """Searches with a budget of simulations for each root, one of each root at a time.

    The regularised policy of each node serves in all three places: simulations leave nodes by a draw from it
    (search), it is the improved policy of the roots (learn), and the action is a draw from that (act).
    Source: Grill et al. (2020), "Monte-Carlo tree search as regularized policy optimization", Section 5,
    algorithm ALL.

    Args:
      tree: roots only, see `make_tree`; written to.
      model: expands leaves.
      generator: source of the draws.
      invalid_actions: True where an action of the root must not be taken. Shape `[B, K]`.
      num_simulations: of each root.
      max_depth: edges of a path at most.
      exploration: see `regularized_policy`.

    Returns:
      The regularised policy of the roots, and as the action a draw from it.

    Raises:
      ValueError: if a count is out of range, a root has no valid action, or something that counts is not
        finite.
    """
    check_search(tree, num_simulations, max_depth)
    loops, roots = find_kernels(), np.arange(tree.num_roots)
    mask_logits(tree, invalid_actions)
    changed = roots
    for simulation in range(num_simulations):
        policy = regularized_policy(tree, changed, exploration=exploration)
        tree.best_edges[changed] = changed * tree.num_actions + _draw(policy, generator)
        edges = tree.best_edges[tree.roots][None]
        inner, leaves = simulate(tree, model, edges, simulation, loops, max_depth)
        changed = np.sort(np.concatenate([roots, inner, leaves]))  # so that draws do not depend on the loops
    probs = regularized_policy(tree, tree.roots, exploration=exploration)
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    q_values = completed_q_values(tree.edges(tree.roots), tree.raw_values[tree.roots])
    return conclude(tree, _draw(probs, generator), log_probs, q_values)


def _draw(probs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draws one action of each row. Shape `[L]`."""
    cumulative = probs.cumsum(axis=1)
    # Below the last sum, so that an action of probability 0 is never drawn.
    uniform = generator.random((len(probs), 1)) * cumulative[:, -1:]
    return np.asarray((cumulative <= uniform).sum(axis=1))
