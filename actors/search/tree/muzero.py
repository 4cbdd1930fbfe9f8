"""MuZero's search: PUCT at every node, the root's too, with Dirichlet noise on its prior."""

import numpy as np

from actors.search.tree.engine import SearchModel, simulate
from actors.search.tree.kernels import Kernels, find_kernels
from actors.search.tree.result import TreeSearchResult, check_search, conclude, log_softmax, mask_logits
from actors.search.tree.scores import completed_q_values, puct
from actors.search.tree.tree import Tree
from actors.search.tree.widening import Widening


def muzero(
    tree: Tree,
    model: SearchModel,
    *,
    invalid_actions: np.ndarray | None = None,
    num_simulations: int,
    max_depth: int | None = None,
    pb_c_init: float = 1.25,
    pb_c_base: float = 19_652.0,
    widening: Widening | None = None,
    kernels: Kernels | None = None,
) -> TreeSearchResult:
    """Searches with a budget of simulations for each root, one of each root at a time.

    Source: Schrittwieser et al. (2020), "Mastering Atari, Go, chess and shogi by planning with a learned
    model", Appendix B.

    Args:
      tree: roots only, see `make_tree`, whose prior holds the noise already (`add_dirichlet_noise`); written
        to.
      model: expands leaves.
      invalid_actions: True where an action of the root must not be taken. Shape `[B, K]`.
      num_simulations: of each root.
      max_depth: edges of a path at most.
      pb_c_init: see `puct`.
      pb_c_base: see `puct`.
      widening: of every node; None offers all actions at once.
      kernels: inner loops; the fastest that are installed by default.

    Returns:
      The improved policy `n_a / sum_b n_b`, and as the action the most visited.

    Raises:
      ValueError: if a count is out of range, a root has no valid action, or something that counts is not
        finite.
    """
    check_search(tree, num_simulations, max_depth)
    loops, roots = kernels or find_kernels(), np.arange(tree.num_roots)
    mask_logits(tree, invalid_actions)
    inner = leaves = np.empty(0, np.int64)
    for simulation in range(num_simulations):
        if widening is None:
            loops.choose_by_puct(tree, np.concatenate([roots, inner]), pb_c_init, pb_c_base)
            loops.choose_by_prior(tree, leaves)
        else:
            nodes = np.concatenate([roots, inner, leaves])
            scores = puct(tree, nodes, pb_c_init=pb_c_init, pb_c_base=pb_c_base)
            tree.set_best(nodes, widening.restrict(tree, nodes, scores))
        if invalid_actions is not None:
            scores = puct(tree, roots, pb_c_init=pb_c_init, pb_c_base=pb_c_base)
            tree.set_best(roots, np.where(invalid_actions, -np.inf, scores))
        edges = tree.best_edges[tree.roots][None]
        inner, leaves = simulate(tree, model, edges, simulation, loops, max_depth)
    found = tree.edges(tree.roots)
    with np.errstate(divide="ignore"):
        log_visits = np.log(found.visits)
    q_values = completed_q_values(found, tree.raw_values[tree.roots])
    return conclude(tree, found.visits.argmax(axis=1), log_softmax(log_visits), q_values)


def add_dirichlet_noise(
    prior_logits: np.ndarray,
    generator: np.random.Generator,
    *,
    fraction: float = 0.25,
    alpha: float = 0.3,
) -> np.ndarray:
    """Mixes Dirichlet noise into a prior: `log((1 - fraction) p + fraction noise)`.

    Source: Silver et al. (2017), "Mastering the game of Go without human knowledge", Methods.

    Args:
      prior_logits: shape `[B, K]`.
      generator: source of the noise.
      fraction: share of the noise.
      alpha: concentration of every action.

    Returns:
      Logits. Shape `[B, K]`.
    """
    noise = generator.dirichlet(np.full(prior_logits.shape[1], alpha), size=len(prior_logits))
    mixed = (1.0 - fraction) * np.exp(log_softmax(prior_logits)) + fraction * noise
    return np.log(np.maximum(mixed, np.finfo(np.float64).tiny))
