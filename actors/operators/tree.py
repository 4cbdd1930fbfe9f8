"""What the operators that search a tree share: their roots, their model, and what becomes of the tree."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from actors.operators.base import ImprovementOperator, diagnose, expectation
from actors.operators.config import OperatorConfig
from actors.search.tree.candidates import CandidatesFn, policy_candidates
from actors.search.tree.result import TreeSearchResult, log_softmax
from actors.search.tree.simulator_model import SimulatorModel
from actors.search.tree.transitions import draw_edge_transitions
from actors.search.tree.tree import Tree, make_tree
from actors.search.tree.widening import Widening
from distill_rl.checks import check_at_least_one, check_positive, check_shape
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet


@dataclasses.dataclass(frozen=True)
class TreeConfig(OperatorConfig):
    """Settings of operators that search a tree; see also `OperatorConfig`.

    Attributes:
      num_simulations: of each root.
      num_interior_candidates: candidates of the nodes below the root; None for as many as at the root.
      max_depth: steps of a path at most; None for no limit.
      num_transitions: steps of the zero-noise policy in the tree, kept for each state as data of the value
        function; of no use where that action is not offered (`SampledMuZero`).
    """

    num_simulations: int = 32
    num_interior_candidates: int | None = None
    max_depth: int | None = None
    num_transitions: int = 8

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        for name in ("num_simulations", "num_transitions"):
            check_at_least_one(name, getattr(self, name))
        for name in ("num_interior_candidates", "max_depth"):
            if getattr(self, name) is not None:
                check_at_least_one(name, getattr(self, name))
        if self.interior_candidates > self.num_candidates:
            raise ValueError(
                f"`num_interior_candidates` must be at most num_candidates = {self.num_candidates}, "
                f"got {self.num_interior_candidates}"
            )

    @property
    def interior_candidates(self) -> int:
        """Candidates of the nodes below the root."""
        return self.num_interior_candidates or self.num_candidates


@dataclasses.dataclass(frozen=True)
class WidenedTreeConfig(TreeConfig):
    """Settings of tree searches that can widen their nodes step by step; see also `TreeConfig`.

    Attributes:
      widening_coefficient: see `Widening`; None offers all candidates of a node at once.
      widening_exponent: see `Widening`.
    """

    widening_coefficient: float | None = None
    widening_exponent: float = 0.5

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        for name in ("widening_coefficient", "widening_exponent"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))

    @property
    def widening(self) -> Widening | None:
        """How nodes widen; None if they do not."""
        if self.widening_coefficient is None:
            return None
        return Widening(self.widening_coefficient, self.widening_exponent)


class TreeOperator(ImprovementOperator):
    """An operator that searches a tree with the simulator as its model.

    Subclasses say which named search it is. The candidates of a node are the zero-noise action and samples of
    the policy (`policy_candidates`), unless a subclass has others.
    """

    config_type: ClassVar[type[TreeConfig]]
    config: TreeConfig
    offers_zero_noise: ClassVar[bool] = True
    """Whether the first candidate of every node is the zero-noise action."""

    @abc.abstractmethod
    def _search(self, tree: Tree, model: SimulatorModel, generator: np.random.Generator) -> TreeSearchResult:
        """Searches, from a tree of roots only."""

    def _candidates_fn(self) -> CandidatesFn:
        return policy_candidates

    def _log_weights(self, found: TreeSearchResult) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the log-weights of the improved policy, and its temperatures if it has any."""
        return found.log_weights, None

    def improve(
        self,
        observation: np.ndarray,
        state: np.ndarray,
        policy: SearchPolicy,
        generator: np.random.Generator,
        policy_version: int = 0,
    ) -> ReferenceSet:
        """Improves on `policy` at a batch of states.

        `value` is `sum_k p*_k Q_k` with completed values. `policy_value` is what the policy's own first
        action is worth by one step of the simulator and the policy's value function, with no credit for the
        search. `transitions` are steps of the zero-noise policy anywhere in the tree, if it offers that
        action. Whoever acts by the set takes the candidate of the largest weight; the action that a search
        itself would take (`TreeSearchResult.action`) is for its direct callers.

        Args:
          observation: shape `[B, O]`, float32.
          state: simulator states. Shape `[B, S]`.
          policy: the policy to improve on, with its value function.
          generator: source of every random draw.
          policy_version: version of `policy`, stamped on the result.

        Returns:
          A reference set in the mass convention; NaN values mark states all of whose candidates diverged, or
          that the policy has no finite value of.

        Raises:
          ValueError: if the shapes disagree.
        """
        check_shape("observation", observation, (len(state), self.simulator.observation_size))
        first_simulator_step = self.simulator.num_steps
        candidates_fn, config = self._candidates_fn(), self.config
        model = SimulatorModel(
            self.simulator,
            policy,
            generator,
            candidates_fn,
            num_actions=config.interior_candidates,
            discount=config.discount,
        )
        actions, prior_logits = candidates_fn(policy, observation, config.num_candidates, generator)
        value = policy.value(observation).astype(np.float64)
        has_value = np.isfinite(value)
        value[~has_value] = 0.0
        tree = make_tree(state, observation, actions, prior_logits, value, config.num_simulations)
        found = self._search(tree, model, generator)
        log_weights, temperature = self._log_weights(found)
        is_lost = self._is_lost(tree) | ~has_value
        value = np.where(is_lost, np.nan, expectation(log_weights, found.q_values))
        policy_value = np.where(is_lost, np.nan, self._policy_value(tree, prior_logits))
        self.last_search = diagnose(
            log_weights,
            value,
            policy_value,
            temperature=temperature,
            diverged_fraction=model.num_diverged / model.num_expanded,
            simulator_steps=self.simulator.num_steps - first_simulator_step,
        )
        transitions = None
        if self.offers_zero_noise:
            transitions = draw_edge_transitions(tree, policy_value, config.num_transitions, generator)
        return ReferenceSet(
            observation=observation,
            actions=actions,
            log_probs=log_weights.astype(np.float32, order="C"),
            log_proposals=np.zeros(log_weights.shape, np.float32),
            value=value.astype(np.float32),
            policy_value=policy_value.astype(np.float32),
            policy_version=policy_version,
            transitions=transitions,
        )

    def _policy_value(self, tree: Tree, prior_logits: np.ndarray) -> np.ndarray:
        """Returns `reward + discount * V` of the zero-noise action, or in the mean of the prior. Shape `[B]`.

        That mean is over the candidates that were visited. Where there is none, or it diverged, it is the
        value the root came with.
        """
        roots = tree.roots
        children = tree.children[roots]
        q_values = tree.rewards[children] + tree.discounts[children] * tree.raw_values[children]
        # Of the candidates as they were offered, without noise that a search adds.
        is_sound = (children != tree.sink) & np.isfinite(tree.observations[children]).all(axis=2)
        weights = np.exp(log_softmax(prior_logits)) * is_sound
        if self.offers_zero_noise:
            weights[:, 1:] = 0.0
        total = weights.sum(axis=1)
        mean = (weights * q_values).sum(axis=1) / np.where(total > 0.0, total, 1.0)
        return np.where(total > 0.0, mean, tree.raw_values[roots])

    def _is_lost(self, tree: Tree) -> np.ndarray:
        """Returns the roots whose every visited candidate diverged. Shape `[B]`."""
        children = tree.children[tree.roots]
        is_sound = np.isfinite(tree.observations[children]).all(axis=2) & (children != tree.sink)
        return np.asarray(~is_sound.any(axis=1))
