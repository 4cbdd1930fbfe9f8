"""What the named searches share: their result, and masks of invalid actions."""

import dataclasses

import numpy as np

from actors.search.tree.tree import LOWEST_LOGIT, Tree, write_prior


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


def mask_logits(tree: Tree, invalid_actions: np.ndarray | None) -> None:
    """Takes the prior of invalid actions away from the roots of a tree.

    Args:
      tree: written to.
      invalid_actions: True where an action must not be taken; None for nowhere. Shape `[B, K]`.

    Raises:
      ValueError: if a root has no valid action.
    """
    if invalid_actions is None:
        return
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
