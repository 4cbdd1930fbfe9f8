"""What a laboratory experiment fixes for every loss: targets, and the reference sets drawn from them."""

import dataclasses
from typing import Literal, get_args

import torch
from torch import Tensor

from distill_rl.checks import check_choice
from distill_rl.types import ReferenceSet
from learners.laboratory.mixtures import TruncatedMixtures, random_mixtures

Data = Literal["fixed", "fresh", "conditioned"]
Network = Literal["ding_jin", "policy"]

DATA: tuple[str, ...] = get_args(Data)
NETWORKS: tuple[str, ...] = get_args(Network)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Targets and their reference sets, in [0, 1]; one member of an ensemble for each instance and seed.

    Instances mix 2 and 3 components in turn (Fang & Di, Table 2).

    Attributes:
      data: `fixed` (each member has one reference set for good, as in the paper), `fresh` (a new set at
        every update), or `conditioned` (the target moves with a state in [0, 1], and an update sees
        `batch_size / 2` states with a fresh set and two noises each).
      network: `ding_jin`, as in the paper, or `policy`, the one that `ConsistencyPolicy` has.
      action_size: `A`.
      num_instances: targets.
      num_seeds: members for each of them, which differ in weights and data.
      num_candidates: `N` of a reference set.
      batch_size: noisy actions of an update, for each member.
      seed: of targets, weights and data.

    Raises:
      ValueError: if `data` or `network` is unknown or a count is below one.
    """

    data: Data = "fixed"
    network: Network = "ding_jin"
    action_size: int = 2
    num_instances: int = 5
    num_seeds: int = 5
    num_candidates: int = 16
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("data", self.data, DATA)
        check_choice("network", self.network, NETWORKS)
        for name in ("action_size", "num_instances", "num_seeds", "num_candidates", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")

    @property
    def num_members(self) -> int:
        """Instances times seeds."""
        return self.num_instances * self.num_seeds

    @property
    def observation_size(self) -> int:
        """One where the target moves with a state, else none."""
        return int(self.data == "conditioned")

    @property
    def num_noises(self) -> int:
        """Noises for each state of an update."""
        return 2 if self.data == "conditioned" else self.batch_size


class ReferenceSource:
    """Draws the reference sets of all members.

    Member `e` has instance `e // num_seeds`. Sets are of the density convention with `q = p*`, so the right
    importance weights are one.

    Attributes:
      action_size: `A`.
    """

    def __init__(self, experiment: Experiment, device: str | torch.device = "cpu"):
        """Draws the targets, and the sets of `fixed` data.

        Args:
          experiment: what to draw.
          device: where everything lives.
        """
        self._experiment = experiment
        self.action_size = experiment.action_size
        generator = torch.Generator().manual_seed(experiment.seed)
        num_components = [2 + index % 2 for index in range(experiment.num_instances)]
        rows = torch.arange(experiment.num_members) // experiment.num_seeds

        def draw_targets() -> TruncatedMixtures:
            targets = random_mixtures(num_components, experiment.action_size, generator)
            return targets[rows].to(torch.float32, device)

        self._first, self._second = draw_targets(), draw_targets()
        self._fixed = None
        if experiment.data == "fixed":
            seeded = torch.Generator(device).manual_seed(experiment.seed)
            self._fixed = self._draw_set(self._first, self._no_state(), seeded)

    def draw(self, generator: torch.Generator) -> tuple[TruncatedMixtures, ReferenceSet]:
        """Returns the targets and the reference sets of an update, member by member.

        Args:
          generator: source of the draws.

        Returns:
          Targets and sets: a row for each member, or several in turn if they depend on a state.
        """
        if self._fixed is not None:
            return self._first, self._fixed
        if self._experiment.data == "fresh":
            return self._first, self._draw_set(self._first, self._no_state(), generator)
        experiment = self._experiment
        count = experiment.num_members * max(1, experiment.batch_size // experiment.num_noises)
        state = torch.rand((count, 1), generator=generator, device=generator.device)
        targets = self.targets_at(state)
        return targets, self._draw_set(targets, state, generator)

    def targets_at(self, state: Tensor) -> TruncatedMixtures:
        """Returns the targets at some states.

        Args:
          state: as many rows for each member, in their order. Shape `[R, 1]`; `[R, 0]` where there is none.

        Returns:
          `R` mixtures.
        """
        rows = torch.arange(len(state), device=state.device) * self._experiment.num_members // len(state)
        first = self._first[rows]
        return first.blend(self._second[rows], state[:, 0]) if state.shape[1] else first

    def evaluation_states(self, num_states: int) -> Tensor:
        """Returns states to evaluate each member at: evenly from 0 to 1; none where targets have none.

        Args:
          num_states: of each member.

        Returns:
          Shape `[num_members * num_states, 1]`, or `[num_members, 0]`.
        """
        if self._experiment.data != "conditioned":
            return self._no_state()
        states = torch.linspace(0.0, 1.0, num_states, device=self._first.means.device)
        return states.repeat(self._experiment.num_members)[:, None]

    def _no_state(self) -> Tensor:
        return self._first.means.new_zeros((self._experiment.num_members, 0))

    def _draw_set(
        self, targets: TruncatedMixtures, state: Tensor, generator: torch.Generator
    ) -> ReferenceSet:
        actions = targets.sample(self._experiment.num_candidates, generator)
        log_probs = targets.log_prob(actions)
        zeros = log_probs.new_zeros(len(state))
        return ReferenceSet(state, actions, log_probs, log_probs, zeros, zeros, 0, "density")
