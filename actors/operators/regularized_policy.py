"""Search by the closed form of MuZero's regularised policy, as an improvement operator."""

import dataclasses
from typing import ClassVar

import numpy as np

from actors.operators.tree import TreeConfig, TreeOperator
from actors.search.tree.regularized import regularized_search
from actors.search.tree.result import TreeSearchResult
from actors.search.tree.simulator_model import SimulatorModel
from actors.search.tree.tree import Tree
from distill_rl.checks import check_positive


@dataclasses.dataclass(frozen=True)
class RegularizedPolicyConfig(TreeConfig):
    """Settings of `RegularizedPolicy`; see also `TreeConfig`.

    Attributes:
      exploration: see `regularized_policy`.
    """

    exploration: float = 1.25

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        check_positive("exploration", self.exploration)


class RegularizedPolicy(TreeOperator):
    """Searches by draws from the regularised policy, which is the improved policy too.

    See `regularized_search`.
    """

    config_type: ClassVar[type[RegularizedPolicyConfig]] = RegularizedPolicyConfig
    config: RegularizedPolicyConfig

    def _search(self, tree: Tree, model: SimulatorModel, generator: np.random.Generator) -> TreeSearchResult:
        return regularized_search(
            tree,
            model,
            generator,
            num_simulations=self.config.num_simulations,
            max_depth=self.config.max_depth,
            exploration=self.config.exploration,
        )
