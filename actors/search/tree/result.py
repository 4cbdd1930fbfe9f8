"""What the named searches share: checks of what they are given, masks of invalid actions, their result."""

import dataclasses
import math

import numpy as np

from actors.search.tree.tree import LOWEST_LOGIT, Tree, write_prior
from distill_rl.checks import check_at_least_one, check_shape


@dataclasses.dataclass(frozen=True)
class TreeSearchResult:
    """What a search found.

    Attributes:
      action: index of the chosen action of each root. Shape `[B]`.
      log_weights: log of the improved policy over the root's actions; `-inf` where it has no mass. Shape
        `[B, K]`.
      q_values: of the root's actions, see `completed_q_values`. Shape `[B, K]`.
      tree: the whole tree.
    """

    action: np.ndarray
    log_weights: np.ndarray
    q_values: np.ndarray
    tree: Tree


def check_search(tree: Tree, num_simulations: int, max_depth: int | None) -> None:
    """Checks the budget of a search.

    Raises:
      ValueError: if a count is below 1, or the tree has no room for so many simulations.
    """
    check_at_least_one("num_simulations", num_simulations)
    if num_simulations >= tree.num_nodes:
        raise ValueError(
            f"`num_simulations` must be at most {tree.num_nodes - 1}, for which the tree has room, "
            f"got {num_simulations}"
        )
    if max_depth is not None:
        check_at_least_one("max_depth", max_depth)


def conclude(
    tree: Tree, action: np.ndarray, log_weights: np.ndarray, q_values: np.ndarray
) -> TreeSearchResult:
    """Returns the result of a search; see `TreeSearchResult` for the arguments.

    Raises:
      ValueError: if a value or a weight is not a number, naming its row: the noise of the root or what the
        model returned below it was not finite.
    """
    # Two sums tell, which is less than a mask: short searches would feel it.
    if not (math.isfinite(q_values.sum()) and not math.isnan(log_weights.max())):
        row = int((np.isfinite(q_values) & ~np.isnan(log_weights)).all(axis=1).argmin())
        raise ValueError(
            "what `model` returns and the noise of roots must be finite (steps that fail are to be named in "
            f"`is_lost`), got values {q_values[row]} and weights {np.exp(log_weights[row])} in row {row}"
        )
    return TreeSearchResult(action, log_weights, q_values, tree)


def mask_logits(tree: Tree, invalid_actions: np.ndarray | None) -> None:
    """Takes the prior of invalid actions away from the roots of a tree.

    Args:
      tree: written to.
      invalid_actions: True where an action must not be taken; None for nowhere. Shape `[B, K]`.

    Raises:
      ValueError: if a root has no valid action, or the mask is not one of booleans or has another shape.
    """
    if invalid_actions is None:
        return
    check_shape("invalid_actions", invalid_actions, (tree.num_roots, tree.num_actions))
    if invalid_actions.dtype != bool:
        raise ValueError(f"`invalid_actions` must be of booleans, got {invalid_actions.dtype}")
    if invalid_actions.all(axis=1).any():
        row = int(invalid_actions.all(axis=1).argmax())
        raise ValueError(f"`invalid_actions` must leave an action in each row, got none in row {row}")
    logits = tree.prior_logits[tree.roots]
    logits = logits - logits.max(axis=1, keepdims=True)
    write_prior(tree, tree.roots, np.where(invalid_actions, LOWEST_LOGIT, logits))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns normalised logits; `-inf` stays. Shape `[B, K]`."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
