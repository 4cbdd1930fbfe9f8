"""RLlib's learner around the plain `Distiller` and `ReferenceReplay`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import ObjectLostError
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_TRAINED, NUM_ENV_STEPS_TRAINED_LIFETIME

from distill_rl.networks.distill_networks import LatentNetworks, StudentNetworks
from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.distiller import Distiller
from learners.latent_distiller import LatentDistiller
from learners.replay import ReferenceReplay

_DISTILLER = "distiller"


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
      num_invalid_sets: reference sets refused so far because they broke the contract.
      num_lost_fragments: fragments that could not be fetched so far.
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


class DistillLearner(TorchLearner):
    """Holds a share of the reference sets and makes updates.

    The module that RLlib sees holds the averaged weights; the optimiser moves another copy inside
    `distiller`. With several learners each keeps every L-th state, draws its share of the batch with noise of
    its own, and gradients are averaged before the check for finite values, so that all ranks take the same
    step. Observation statistics are averaged after each call. Hence RLlib's own wrapping of modules is left
    out.

    Attributes:
      distiller: the gradient step.
      replay: this learner's reference sets.
    """

    distiller: Distiller
    replay: ReferenceReplay

    def build(self) -> None:
        """Builds the module, the distiller and the replay; all learners start from the same weights."""
        super().build()
        if self.config.num_learners == 0 and self._device.type == "cpu":
            # Small matrices on many threads are slower, the more so beside actors on the same machine.
            torch.set_num_threads(max(1, int(self.config.num_cpus_for_main_process)))
        self._rank = self._learner_index
        self._num_ranks = max(1, self.config.num_learners)
        config = self._share(self.config.part(DistillationConfig))
        module = self.module[DEFAULT_MODULE_ID]
        entropy = np.random.SeedSequence().entropy if self.config.seed is None else self.config.seed
        seeds = np.random.SeedSequence([entropy, self._rank]).generate_state(2)
        self._generator = np.random.default_rng(int(seeds[0]))
        self.distiller = self._make_distiller(module.networks, config, int(seeds[1]))
        self.replay = ReferenceReplay(config.replay_capacity)
        self._num_invalid_sets = 0
        self._num_lost_fragments = 0
        if self.distributed:
            self._start_alike()
        module.networks = self.distiller.ema

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
        for reference_set in references:
            self._add(reference_set)
        for _ in range(num_updates):
            config = self.distiller.config
            batch = self.replay.sample(config.batch_size, self._generator, config.replay_priority)
            self._log(self.distiller.update(batch))
        if self.distributed and num_updates:
            self._average_statistics()
        self._weights_seq_no = self.distiller.num_updates
        self._log_steps(num_updates * self.distiller.config.batch_size)
        return LearnerReport(
            policy_version=self.distiller.num_updates,
            num_updates=num_updates,
            weights=self._finite_weights() if self._rank == 0 else None,
            num_replay_sets=len(self.replay),
            num_skipped_updates=self.distiller.num_skipped_updates,
            num_rollbacks=self.distiller.num_rollbacks,
            num_invalid_sets=self._num_invalid_sets,
            num_lost_fragments=self._num_lost_fragments,
            metrics=self.metrics.reduce(),
        )

    def _make_distiller(self, networks: StudentNetworks, config: DistillationConfig, seed: int) -> Distiller:
        average_fn = self._average if self.distributed else None
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

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns RLlib's state and the distiller's; the replay is kept apart, see `get_replay_state`."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_DISTILLER, components, not_components):
            state[_DISTILLER] = self.distiller.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state. Weights always apply: RLlib would keep its own against older ones."""
        self._weights_seq_no = 0
        super().set_state(state)
        if _DISTILLER in state:
            self.distiller.set_state(state[_DISTILLER])
        self._weights_seq_no = self.distiller.num_updates

    def get_replay_state(self) -> dict[str, Any]:
        """Returns the contents of this learner's replay and the state of its draws."""
        return {"replay": self.replay.state_dict(), "generator": self._generator.bit_generator.state}

    def set_replay_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_replay_state` returned."""
        self.replay.load_state_dict(state["replay"])
        self._generator.bit_generator.state = state["generator"]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Registers nothing: the distiller owns its optimiser."""

    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        """Refuses: the losses are functions of reference sets, see `learners.objectives`."""
        raise NotImplementedError("DistillLearner makes updates through its Distiller")

    def _make_modules_ddp_if_necessary(self) -> None:
        pass  # gradients are averaged by `_average`

    def _share(self, config: DistillationConfig) -> DistillationConfig:
        """Returns the configuration of one learner: its part of the batch and of the replay."""
        return dataclasses.replace(
            config,
            batch_size=-(-config.batch_size // self._num_ranks),
            replay_capacity=-(-config.replay_capacity // self._num_ranks),
        )

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
        except ValueError:
            self._num_invalid_sets += len(reference_set)

    def _log(self, metrics: dict[str, float]) -> None:
        # The counters among them are in the report.
        losses = {name: value for name, value in metrics.items() if not name.startswith("num_")}
        self.metrics.log_dict(losses, key=DEFAULT_MODULE_ID, window=1)

    def _log_steps(self, num_steps: int) -> None:
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), num_steps, reduce="sum")
        self.metrics.log_value(
            (ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), num_steps, reduce="lifetime_sum"
        )

    def _finite_weights(self) -> dict[str, Any] | None:
        weights = self.module[DEFAULT_MODULE_ID].get_state()
        return weights if all(np.isfinite(array).all() for array in weights.values()) else None

    def _average(self, tensors: list[torch.Tensor]) -> None:
        """Averages tensors over the learners, in place, by one message."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self._num_ranks
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))

    def _average_statistics(self) -> None:
        pairs = zip(self.distiller.online.buffers(), self.distiller.ema.buffers())
        for buffer, ema_buffer in pairs:
            self._average([buffer])
            ema_buffer.copy_(buffer)

    def _start_alike(self) -> None:
        state = self.distiller.get_state()
        for networks in (state["online"], state["ema"]):
            for tensor in networks.values():
                torch.distributed.broadcast(tensor, src=0)
        self.distiller.set_state(state)


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
