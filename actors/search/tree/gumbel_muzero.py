"""Gumbel MuZero: sequential halving with Gumbel noise at the root, completed values everywhere."""

from typing import Literal, get_args

import numpy as np

from actors.search.tree.engine import SearchModel, simulate
from actors.search.tree.kernels import Kernels, find_kernels
from actors.search.tree.result import TreeSearchResult, check_search, conclude, mask_logits
from actors.search.tree.schedule import halving_plan
from actors.search.tree.scores import completed_q_values, scaled_values, visit_lag
from actors.search.tree.tree import LOWEST_LOGIT, Tree
from actors.search.tree.widening import Widening
from distill_rl.checks import check_at_least_one, check_choice, check_shape

Schedule = Literal["sequential", "exact", "rounds"]

SCHEDULES: tuple[str, ...] = get_args(Schedule)


def gumbel_muzero(
    tree: Tree,
    model: SearchModel,
    gumbel: np.ndarray,
    *,
    invalid_actions: np.ndarray | None = None,
    num_simulations: int,
    max_considered: int = 16,
    max_depth: int | None = None,
    schedule: Schedule = "rounds",
    value_scale: float = 0.1,
    max_visit_init: float = 50.0,
    widening: Widening | None = None,
    kernels: Kernels | None = None,
) -> TreeSearchResult:
    """Searches with a budget of simulations for each root.

    Schedules differ in how many simulations one pass of the model serves:

    * `sequential`: one of each root, as mctx;
    * `exact`: all candidates with equal visits at once where all of them are visited in a row anyway, which
      changes nothing but the order of nodes;
    * `rounds`: all candidates that are left at the start of a visit to each, ranked once, as the paper states
      sequential halving.

    Source: Danihelka et al. (2022), "Policy improvement by planning with Gumbel", Alg. 2.

    Args:
      tree: roots only, see `make_tree`; written to.
      model: expands leaves.
      gumbel: noise of the root's actions; zero for none. Shape `[B, K]`.
      invalid_actions: True where an action of the root must not be taken. Shape `[B, K]`.
      num_simulations: of each root.
      max_considered: actions that sequential halving starts with.
      max_depth: edges of a path at most.
      schedule: see above.
      value_scale: see `scaled_values`.
      max_visit_init: see `scaled_values`.
      widening: of the nodes below the roots; None offers all actions at once.
      kernels: inner loops; the fastest that are installed by default.

    Returns:
      The improved policy `softmax(logits + sigma(q))` and, as the action, the best of the most visited.

    Raises:
      ValueError: if the schedule is unknown, a count is out of range, a shape is wrong, a root has no valid
        action, or something that counts is not finite.
    """
    check_choice("schedule", schedule, SCHEDULES)
    check_search(tree, num_simulations, max_depth)
    check_at_least_one("max_considered", max_considered)
    check_shape("gumbel", gumbel, (tree.num_roots, tree.num_actions))
    loops, scale = kernels or find_kernels(), (value_scale, max_visit_init)
    counts, kinds = (min(max_considered, tree.num_actions),), np.zeros(tree.num_roots, np.int64)
    if invalid_actions is not None:
        mask_logits(tree, invalid_actions)
        num_considered = np.minimum(max_considered, (~invalid_actions).sum(axis=1))
        found, kinds = np.unique(num_considered, return_inverse=True)
        counts = tuple(found.tolist())
    plan, ends = halving_plan(counts, num_simulations)
    logits = tree.prior_logits[tree.roots]
    noisy_logits = gumbel + logits - logits.max(axis=1, keepdims=True)
    if invalid_actions is not None:
        noisy_logits[invalid_actions] = -np.inf
    num_made = 0
    inner = leaves = np.empty(0, np.int64)
    while num_made < num_simulations:
        considered, width = plan[num_made].take(kinds), ends[num_made] - num_made
        if schedule == "sequential" or (schedule == "exact" and not _is_whole(tree, considered, width)):
            width = 1
        if widening is not None:
            _choose_by_widened_lag(tree, np.concatenate([inner, leaves]), *scale, widening)
            inner = leaves[:0]
        elif num_made > 0:
            loops.choose_by_prior(tree, leaves)
        edges = loops.choose_by_halving(tree, inner, noisy_logits, considered, width, *scale)
        inner, leaves = simulate(tree, model, edges, num_made, loops, max_depth)
        num_made += width
    action, log_weights, q_values = loops.improve_roots(tree, noisy_logits, *scale)
    return conclude(tree, action, log_weights, q_values)


def _is_whole(tree: Tree, considered: np.ndarray, width: int) -> bool:
    """Returns whether each root has just `width` valid actions with so many visits. Shape `[B]`."""
    if width == 1:
        return True
    visits = tree.node_visits[tree.children[tree.roots]]
    is_ready = (visits == considered[:, None]) & (tree.prior_logits[tree.roots] > LOWEST_LOGIT)
    return bool((is_ready.sum(axis=1) == width).all())


def _choose_by_widened_lag(
    tree: Tree, nodes: np.ndarray, value_scale: float, max_visit_init: float, widening: Widening
) -> None:
    edges = tree.edges(nodes)
    completed = completed_q_values(edges, tree.raw_values[nodes])
    scaled = scaled_values(edges, completed, value_scale=value_scale, max_visit_init=max_visit_init)
    tree.set_best(nodes, widening.restrict(tree, nodes, visit_lag(edges, scaled)))
