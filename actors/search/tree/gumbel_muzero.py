"""Gumbel MuZero: sequential halving with Gumbel noise at the root, completed values everywhere."""

from typing import Literal, get_args

import numpy as np

from actors.search.tree.engine import SearchModel, simulate
from actors.search.tree.kernels import Kernels, find_kernels
from actors.search.tree.result import TreeSearchResult, log_softmax, mask_logits
from actors.search.tree.schedule import considered_visits
from actors.search.tree.scores import visit_lag
from actors.search.tree.tree import Tree
from actors.search.tree.widening import Widening
from distill_rl.checks import check_choice

Schedule = Literal["sequential", "exact", "rounds"]

SCHEDULES: tuple[str, ...] = get_args(Schedule)

_LOW = -1e9  # of an action that takes part; below it lie those that do not


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
      ValueError: if the schedule is unknown, or a root has no valid action.
    """
    check_choice("schedule", schedule, SCHEDULES)
    roots, loops = tree.roots, kernels or find_kernels()
    num_valid = np.full(tree.num_roots, tree.num_actions)
    if invalid_actions is not None:
        mask_logits(tree, invalid_actions)
        num_valid = (~invalid_actions).sum(axis=1)
    plan = _plan(np.minimum(max_considered, num_valid), num_simulations)
    logits = tree.prior_logits[roots]
    noisy_logits = gumbel + logits - logits.max(axis=1, keepdims=True)

    def choose(nodes: np.ndarray) -> np.ndarray:
        if widening is None:
            return loops.choose_by_lag(tree, nodes, value_scale, max_visit_init)
        _, scaled = loops.complete(tree, nodes, value_scale, max_visit_init)
        return widening.restrict(tree, nodes, visit_lag(tree, nodes, scaled)).argmax(axis=1)

    def root_visits() -> np.ndarray:
        visits = tree.edge_visits[roots]
        return visits if invalid_actions is None else np.where(invalid_actions, -1.0, visits)

    start, changed = 0, np.empty(0, np.int64)
    scaled: np.ndarray | float = 0.0  # before the first pass no action differs in value from another
    while start < num_simulations:
        if start > 0:
            tree.best_edges[changed] = changed * tree.num_actions + choose(changed)
            _, scaled = loops.complete(tree, roots, value_scale, max_visit_init)
        visits = root_visits()
        width = _pass_width(plan, start, visits, schedule)
        scores = _root_scores(noisy_logits + scaled, visits == plan[:, start, None])
        if width == 1:
            chosen = scores.argmax(axis=1)[:, None]
        else:
            chosen = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        edges = (roots[:, None] * tree.num_actions + chosen).ravel()
        changed = simulate(tree, model, edges, loops, max_depth)
        start += width
    q_values, scaled = loops.complete(tree, roots, value_scale, max_visit_init)
    visits = root_visits()
    scores = _root_scores(noisy_logits + scaled, visits == visits.max(axis=1, keepdims=True))
    improved = logits + scaled
    if invalid_actions is not None:
        improved[invalid_actions] = -np.inf
    return TreeSearchResult(scores.argmax(axis=1), log_softmax(improved), q_values, tree)


def _root_scores(scores: np.ndarray, is_candidate: np.ndarray) -> np.ndarray:
    return np.where(is_candidate, np.maximum(_LOW, scores), -np.inf)


def _plan(num_considered: np.ndarray, num_simulations: int) -> np.ndarray:
    """Returns the schedule of each root, or one row where they are all the same. Shape `[B or 1, n]`."""
    counts = np.unique(num_considered).tolist()
    rows = np.array([considered_visits(count, num_simulations) for count in counts])
    return rows if len(counts) == 1 else rows[np.searchsorted(counts, num_considered)]


def _pass_width(plan: np.ndarray, start: int, visits: np.ndarray, schedule: Schedule) -> int:
    """Returns how many of the next simulations of every root may be made at once."""
    if schedule == "sequential":
        return 1
    same = plan[:, start:] == plan[:, start, None]
    run = np.where(same.all(axis=1), same.shape[1], same.argmin(axis=1))
    width = int(run.min())
    if schedule == "rounds" or width == 1:
        return width
    available = (visits == plan[:, start, None]).sum(axis=1)
    return width if (available == width).all() else 1
