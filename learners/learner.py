"""The learner that distils reference sets: a `Distiller` and a `ReferenceReplay`."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import ObjectLostError
from ray.rllib.core import DEFAULT_MODULE_ID

from distill_rl.policies.distill_networks import LatentNetworks, StudentNetworks
from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.distiller import Distiller
from learners.latent_distiller import LatentDistiller
from learners.network_learner import NetworkLearner
from learners.replay import ReferenceReplay

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LearnerReport:
    """What one call of `DistillLearner.update` did.

    Attributes:
      policy_version: updates made since the beginning, the version of `weights`.
      num_updates: updates asked for in this call.
      weights: state of the module to broadcast; None if it is not finite.
      num_replay_sets: reference sets in the learner's replay.
      num_skipped_updates: updates skipped so far because a loss or gradient was not finite.
      num_rollbacks: returns to the last good weights so far.
      num_invalid_sets: reference sets refused in this call because they broke the contract.
      num_lost_fragments: fragments that could not be fetched in this call.
      metrics: RLlib metrics of the call.
    """

    policy_version: int
    num_updates: int
    weights: dict[str, Any] | None
    num_replay_sets: int
    num_skipped_updates: int
    num_rollbacks: int
    num_invalid_sets: int
    num_lost_fragments: int
    metrics: Any


class DistillLearner(NetworkLearner):
    """Holds a share of the reference sets and makes updates.

    With several learners each keeps every L-th state. Observation statistics are averaged after each call.

    Attributes:
      trainer: the gradient step.
      replay: this learner's reference sets.
    """

    trainer: Distiller
    replay: ReferenceReplay

    def build(self) -> None:
        """Builds the module, the trainer and the replay; all learners start from the same weights."""
        super().build()
        self.replay = ReferenceReplay(-(-self.config.replay_capacity // self._num_ranks))

    def update(  # type: ignore[override]
        self, references: Sequence[ReferenceSet | ray.ObjectRef] = (), *, num_updates: int = 0
    ) -> LearnerReport:
        """Adds reference sets to the replay and makes updates from it.

        Every learner of a group must be asked for the same number of updates.

        Args:
          references: sets, or references to sets in the object store.
          num_updates: gradient steps.
        """
        self._check_is_built()
        self._num_invalid_sets = self._num_lost_fragments = 0
        for reference in references:
            self._add(reference)
        for _ in range(num_updates):
            self._log(self._take_step())
        if self.distributed and num_updates:
            self._average_statistics()
        self._weights_seq_no = self.trainer.num_updates
        self._log_steps(num_updates * self.trainer.config.batch_size)
        return LearnerReport(
            policy_version=self.trainer.num_updates,
            num_updates=num_updates,
            weights=self._finite_weights() if self._rank == 0 else None,
            num_replay_sets=len(self.replay),
            num_skipped_updates=self.trainer.num_skipped_updates,
            num_rollbacks=self.trainer.num_rollbacks,
            num_invalid_sets=self._num_invalid_sets,
            num_lost_fragments=self._num_lost_fragments,
            metrics=self.metrics.reduce(),
        )

    def _take_step(self) -> dict[str, float]:
        """Makes one update from the replay, and returns its metrics."""
        config = self.trainer.config
        batch = self.replay.sample(config.batch_size, self._generator, config.replay_priority)
        return self.trainer.update(batch)

    def _make_trainer(self, networks: StudentNetworks, seed: int, average_fn: Any) -> Distiller:
        config = self._share(self.config.part(DistillationConfig))
        action_size = networks.policy.action_size
        if isinstance(networks, LatentNetworks):
            return LatentDistiller(
                networks.encoder.observation_size,
                action_size,
                config,
                seed,
                self._device,
                average_fn,
                world_model=networks.encoder.config,
                discount=self.config.discount,
            )
        return Distiller(
            networks.policy.observation_size, action_size, config, seed, self._device, average_fn
        )

    def get_replay_state(self) -> dict[str, Any]:
        """Returns the contents of this learner's replay and the state of its draws."""
        return {"replay": self.replay.state_dict(), "generator": self._generator.bit_generator.state}

    def set_replay_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_replay_state` returned."""
        self.replay.load_state_dict(state["replay"])
        self._generator.bit_generator.state = state["generator"]

    def _share(self, config: DistillationConfig) -> DistillationConfig:
        """Returns the configuration of one learner: its part of the batch."""
        return dataclasses.replace(config, batch_size=-(-config.batch_size // self._num_ranks))

    def _add(self, reference: ReferenceSet | ray.ObjectRef) -> None:
        try:
            reference_set = ray.get(reference) if isinstance(reference, ray.ObjectRef) else reference
        except ObjectLostError:
            self._num_lost_fragments += 1
            return
        if self._num_ranks > 1:
            reference_set = reference_set.map_arrays(lambda a: a[self._rank :: self._num_ranks])
        try:
            self.replay.add(reference_set)
        except ValueError as error:
            self._num_invalid_sets += len(reference_set)
            _logger.warning("%d reference sets are refused: %s", len(reference_set), error)

    def _finite_weights(self) -> dict[str, Any] | None:
        weights = self.module[DEFAULT_MODULE_ID].get_state()
        return weights if all(np.isfinite(array).all() for array in weights.values()) else None

    def _average_statistics(self) -> None:
        pairs = zip(self.trainer.online.buffers(), self.trainer.ema.buffers())
        for buffer, ema_buffer in pairs:
            self._average([buffer])
            ema_buffer.copy_(buffer)


def reshard_replays(states: Sequence[dict[str, Any]], num_shards: int, capacity: int) -> list[dict[str, Any]]:
    """Deals the contents of some learners' replays out to another number of learners.

    Args:
      states: what `DistillLearner.get_replay_state` returned, one for each learner.
      num_shards: number of learners to come.
      capacity: of each of their replays.

    Returns:
      One state for each; their random draws start anew.
    """
    replays = [state["replay"] for state in states if state["replay"]["arrays"]]
    shards = []
    for rank in range(num_shards):
        replay = ReferenceReplay(capacity)
        for held in replays:
            # Oldest first, as they were added.
            by_age = np.arange(held["num_added"] - len(held["versions"]), held["num_added"])
            rows = by_age[rank::num_shards] % held["capacity"]
            arrays = {name: array[rows] for name, array in held["arrays"].items()}
            version = int(held["versions"].max(initial=0))
            replay.add(ReferenceSet.from_arrays(arrays, version, held["convention"]))
        generator = np.random.default_rng([len(states), rank])
        shards.append({"replay": replay.state_dict(), "generator": generator.bit_generator.state})
    return shards
