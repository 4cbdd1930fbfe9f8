"""MuZero's search as an improvement operator, over the policy's own samples and over tempered ones."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from actors.operators.tree import TreeOperator, WidenedTreeConfig
from actors.search.tree.candidates import Bound, CandidatesFn, tempered_candidates
from actors.search.tree.muzero import add_dirichlet_noise, muzero
from actors.search.tree.result import TreeSearchResult
from actors.search.tree.simulator_model import SimulatorModel
from actors.search.tree.tree import Tree, write_prior
from distill_rl.checks import check_at_least_one, check_fraction, check_positive


@dataclasses.dataclass(frozen=True)
class MuZeroConfig(WidenedTreeConfig):
    """Settings of `MuZero`; see also `WidenedTreeConfig`.

    Attributes:
      dirichlet_fraction: share of the noise in the prior of the root.
      dirichlet_alpha: its concentration.
      pb_c_init: see `puct`.
      pb_c_base: see `puct`.
    """

    dirichlet_fraction: float = 0.25
    dirichlet_alpha: float = 0.3
    pb_c_init: float = 1.25
    pb_c_base: float = 19_652.0

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        check_fraction("dirichlet_fraction", self.dirichlet_fraction)
        for name in ("dirichlet_alpha", "pb_c_init", "pb_c_base"):
            check_positive(name, getattr(self, name))


class MuZero(TreeOperator):
    """PUCT at every node; the improved policy is the root's share of visits. See `muzero`."""

    config_type: ClassVar[type[MuZeroConfig]] = MuZeroConfig
    config: MuZeroConfig

    def _search(self, tree: Tree, model: SimulatorModel, generator: np.random.Generator) -> TreeSearchResult:
        config = self.config
        noisy = add_dirichlet_noise(
            tree.prior_logits[tree.roots],
            generator,
            fraction=config.dirichlet_fraction,
            alpha=config.dirichlet_alpha,
        )
        write_prior(tree, tree.roots, noisy)
        return muzero(
            tree,
            model,
            num_simulations=config.num_simulations,
            max_depth=config.max_depth,
            pb_c_init=config.pb_c_init,
            pb_c_base=config.pb_c_base,
            widening=config.widening,
        )


@dataclasses.dataclass(frozen=True)
class SampledMuZeroConfig(MuZeroConfig):
    """Settings of `SampledMuZero`; see also `MuZeroConfig`.

    Attributes:
      num_centres: see `tempered_candidates`.
      policy_scale: standard deviation of the kernels that make a density of the policy's samples.
      proposal_temperature: see `tempered_candidates`.
      tempered_fraction: share of candidates drawn at that temperature.
      bound: whether proposals are truncated or squashed.
    """

    num_centres: int = 16
    policy_scale: float = 0.1
    proposal_temperature: float = 9.0
    tempered_fraction: float = 0.75
    bound: Bound = "truncated"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        check_at_least_one("num_centres", self.num_centres)
        check_positive("policy_scale", self.policy_scale)
        check_fraction("tempered_fraction", self.tempered_fraction)
        if not self.proposal_temperature >= 1.0:
            raise ValueError(f"`proposal_temperature` must be at least 1, got {self.proposal_temperature}")


class SampledMuZero(MuZero):
    """`MuZero` over candidates drawn more widely than the policy's, corrected for it.

    See `tempered_candidates`. The value of the policy at a state is the prior's mean over its candidates.
    """

    config_type: ClassVar[type[SampledMuZeroConfig]] = SampledMuZeroConfig
    config: SampledMuZeroConfig
    offers_zero_noise: ClassVar[bool] = False

    def _candidates_fn(self) -> CandidatesFn:
        config = self.config
        return functools.partial(
            tempered_candidates,
            num_centres=config.num_centres,
            scale=config.policy_scale,
            temperature=config.proposal_temperature,
            tempered_fraction=config.tempered_fraction,
            bound=config.bound,
        )
