"""Gumbel MuZero as an improvement operator."""

import dataclasses
from typing import ClassVar

import numpy as np

from actors.operators.config import BoltzmannConfig
from actors.operators.tree import TreeOperator, WidenedTreeConfig
from actors.search.temperature import improved_policy
from actors.search.tree.gumbel_muzero import Schedule, gumbel_muzero
from actors.search.tree.result import TreeSearchResult
from actors.search.tree.simulator_model import SimulatorModel
from actors.search.tree.tree import Tree
from distill_rl.checks import check_positive


@dataclasses.dataclass(frozen=True)
class GumbelMuZeroConfig(WidenedTreeConfig, BoltzmannConfig):
    """Settings of `GumbelMuZero`; see also `WidenedTreeConfig` and `BoltzmannConfig`.

    Attributes:
      schedule: how many simulations one pass serves, see `gumbel_muzero`.
      gumbel_scale: factor of the noise that chooses which candidates sequential halving keeps; 0 for none.
      value_scale: see `scaled_values`.
      max_visit_init: see `scaled_values`.
    """

    needs_target: ClassVar[bool] = False  # without one, values are scaled as in the paper

    target_kl: float | None = None
    schedule: Schedule = "rounds"
    gumbel_scale: float = 1.0
    value_scale: float = 0.1
    max_visit_init: float = 50.0

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        for name in ("value_scale", "max_visit_init"):
            check_positive(name, getattr(self, name))
        if not self.gumbel_scale >= 0.0:
            raise ValueError(f"`gumbel_scale` must not be negative, got {self.gumbel_scale}")


class GumbelMuZero(TreeOperator):
    """Sequential halving at the root, completed values everywhere; see `gumbel_muzero`.

    The improved policy is `softmax(logits + sigma(q))`; with a target for its divergence or sample size it is
    `softmax(logits + q / eta)`.
    """

    config_type: ClassVar[type[GumbelMuZeroConfig]] = GumbelMuZeroConfig
    config: GumbelMuZeroConfig

    def _search(self, tree: Tree, model: SimulatorModel, generator: np.random.Generator) -> TreeSearchResult:
        config = self.config
        gumbel = config.gumbel_scale * generator.gumbel(size=(tree.num_roots, tree.num_actions))
        return gumbel_muzero(
            tree,
            model,
            gumbel,
            num_simulations=config.num_simulations,
            max_considered=config.num_candidates,
            max_depth=config.max_depth,
            schedule=config.schedule,
            value_scale=config.value_scale,
            max_visit_init=config.max_visit_init,
            widening=config.widening,
        )

    def _log_weights(self, found: TreeSearchResult) -> tuple[np.ndarray, np.ndarray | None]:
        config = self.config
        if config.target_kl is None and config.target_ess is None:
            return found.log_weights, None
        return improved_policy(
            found.q_values,
            target_kl=config.target_kl,
            target_ess=config.target_ess,
            log_prior=found.tree.prior_logits[found.tree.roots],
        )
