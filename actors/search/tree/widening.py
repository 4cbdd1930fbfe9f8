"""Progressive widening: a node offers more of its actions the more often it is visited.

With many sampled actions a node, a small budget would try each once; widening goes deeper first. Source:
Coulom (2007), "Computing Elo ratings of move patterns in the game of Go", Section 4; Couëtoux et al. (2011),
"Continuous upper confidence trees", Section 3.
"""

import dataclasses

import numpy as np

from actors.search.tree.tree import LOWEST_LOGIT, Tree
from distill_rl.checks import check_positive


@dataclasses.dataclass(frozen=True)
class Widening:
    """Offers the first `ceil(coefficient n^exponent)` valid actions of a node visited `n` times.

    Attributes:
      coefficient: > 0.
      exponent: > 0; 1/2 is usual.
    """

    coefficient: float = 1.0
    exponent: float = 0.5

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: if one is not positive.
        """
        check_positive("coefficient", self.coefficient)
        check_positive("exponent", self.exponent)

    def restrict(self, tree: Tree, nodes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Returns the scores with `-inf` for actions that are not offered yet. Shapes `[L]`, `[L, K]`."""
        count = np.ceil(self.coefficient * tree.node_visits[nodes] ** self.exponent)
        is_valid = tree.prior_logits[nodes] > LOWEST_LOGIT
        is_offered = is_valid & (is_valid.cumsum(axis=1) <= count[:, None])
        return np.where(is_offered, scores, -np.inf)
