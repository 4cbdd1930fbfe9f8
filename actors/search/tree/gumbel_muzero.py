"""Gumbel MuZero: sequential halving with Gumbel noise at the root, completed values everywhere."""

from typing import Literal, get_args

import numpy as np

from actors.search.tree.engine import SearchModel, simulate
from actors.search.tree.kernels import Kernels, find_kernels
from actors.search.tree.result import TreeSearchResult, log_softmax, mask_logits
from actors.search.tree.schedule import considered_visits
from actors.search.tree.scores import completed_q_values, scaled_values, visit_lag
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
    roots = tree.roots
    if invalid_actions is None:
        invalid_actions = np.zeros(gumbel.shape, bool)
    mask_logits(tree, invalid_actions)
    num_considered = np.minimum(max_considered, (~invalid_actions).sum(axis=1))
    table = [considered_visits(m, num_simulations) for m in range(int(num_considered.max()) + 1)]
    plan = np.array([table[m] for m in num_considered])  # [B, num_simulations]

    def scaled(nodes: np.ndarray) -> np.ndarray:
        return scaled_values(tree, nodes, value_scale=value_scale, max_visit_init=max_visit_init)

    loops = kernels or find_kernels()

    def choose(_: Tree, nodes: np.ndarray) -> np.ndarray:
        if widening is None:
            return loops.choose_by_lag(tree, nodes, value_scale, max_visit_init)
        return widening.restrict(tree, nodes, visit_lag(tree, nodes, scaled(nodes))).argmax(axis=1)

    def root_scores() -> np.ndarray:
        logits = tree.prior_logits[roots]
        scores = gumbel + logits - logits.max(axis=1, keepdims=True) + scaled(roots)
        return np.where(invalid_actions, -np.inf, np.maximum(_LOW, scores))

    start = 0
    while start < num_simulations:
        width = _pass_width(plan, start, tree.edge_visits[roots], invalid_actions, schedule)
        visits = tree.edge_visits[roots]
        scores = np.where(visits == plan[:, start, None], root_scores(), -np.inf)
        if width == 1:
            chosen = scores.argmax(axis=1)[:, None]
        else:
            chosen = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        edges = (roots[:, None] * tree.num_actions + chosen).ravel()
        simulate(tree, model, edges, choose, loops, max_depth)
        start += width
    visits = tree.edge_visits[roots]
    scores = np.where(visits == visits.max(axis=1, keepdims=True), root_scores(), -np.inf)
    logits = np.where(invalid_actions, -np.inf, tree.prior_logits[roots] + scaled(roots))
    return TreeSearchResult(scores.argmax(axis=1), log_softmax(logits), completed_q_values(tree, roots), tree)


def _pass_width(
    plan: np.ndarray, start: int, visits: np.ndarray, invalid_actions: np.ndarray, schedule: Schedule
) -> int:
    """Returns how many of the next simulations of every root may be made at once."""
    if schedule == "sequential":
        return 1
    same = plan[:, start:] == plan[:, start, None]
    run = np.where(same.all(axis=1), same.shape[1], same.argmin(axis=1))
    width = int(run.min())
    if schedule == "rounds" or width == 1:
        return width
    available = ((visits == plan[:, start, None]) & ~invalid_actions).sum(axis=1)
    return width if (available == width).all() else 1
