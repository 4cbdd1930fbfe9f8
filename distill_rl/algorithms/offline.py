"""Learning from fixed data as an RLlib algorithm."""

import time
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import LEARNER_RESULTS

from distill_rl.algorithms.offline_config import (
    ConsistencyACConfig,
    ConsistencyBCConfig,
    CriticDistillConfig,
    DiffusionBCConfig,
    DiffusionQLConfig,
    GaussianBCConfig,
    OfflineConfig,
)
from distill_rl.datasets.store import load_dataset
from distill_rl.policies.rl_module import PolicyModule
from learners.offline.config import DatasetConfig
from learners.offline.learner import OfflineReport

_LOOP = "loop"


class Offline(Algorithm):
    """Learners that own a dataset, asked for updates.

    Environments only evaluate. Beside RLlib's own entries a result holds the section `loop` with `updates`,
    `updates_per_sec`, `transitions_per_sec`, `epochs` (updates times batch over transitions),
    `skipped_updates` and `rollbacks`.

    Attributes:
      config_class: of the default configuration, which makes a method what it is.
      description: of the dataset, in one line.
    """

    config_class: ClassVar[type[OfflineConfig]] = OfflineConfig

    @classmethod
    def get_default_config(cls) -> OfflineConfig:
        """Returns the default configuration."""
        return cls.config_class()

    def setup(self, config: OfflineConfig) -> None:
        """Opens the dataset and checks it against the environment, then builds the learners.

        Raises:
          ValueError: if there is no such dataset, or the environment is of other sizes.
        """
        dataset = load_dataset(self.config.part(DatasetConfig).name)
        self._num_transitions = len(dataset.transition_rows)
        self.description = (
            f"dataset: {dataset.metadata['name']}, {self._num_transitions:,} transitions, "
            f"{dataset.num_episodes:,} episodes"
        )
        self.config.check_env()
        super().setup(config)
        self._report = self._update(0)

    def training_step(self) -> None:
        """Asks every learner for the updates of one iteration."""
        self._report = self._update(self.config.updates_per_iteration)

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint, of an earlier or a later time."""
        # That of `Algorithm` goes on to tell runners that sample, which are none here.
        Checkpointable.restore_from_path(self, path, *args, **kwargs)
        self._report = self._update(0)

    def step(self) -> dict[str, Any]:
        """Runs one iteration of RLlib and adds the section `loop` to its result."""
        updates_before, start_sec = self._report.num_updates, time.monotonic()
        result = super().step()
        elapsed_sec = time.monotonic() - start_sec
        updates = self._report.num_updates
        rate = (updates - updates_before) / elapsed_sec
        batch_size = self.config.batch_size
        result[_LOOP] = {
            "updates": updates,
            "updates_per_sec": rate,
            "transitions_per_sec": rate * batch_size,
            "epochs": updates * batch_size / self._num_transitions,
            "skipped_updates": self._report.num_skipped_updates,
            "rollbacks": self._report.num_rollbacks,
        }
        return result

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> PolicyModule:
        """Returns the averaged networks: those of the learner in this process, or a copy of a remote's."""
        if self.learner_group.is_local:
            held: PolicyModule = self.learner_group._learner.module[module_id]
            return held
        config = self.config
        module: PolicyModule = config.get_default_rl_module_spec().module_class(
            observation_space=config.observation_space,
            action_space=config.action_space,
            model_config=config.model_config,
        )
        module.set_state(self.learner_group.get_weights()[module_id])
        return module

    @classmethod
    def _should_create_evaluation_env_runners(cls, eval_config: Any) -> bool:
        return eval_config.env is not None  # `evaluate` may be called at any time

    def _update(self, num_updates: int) -> OfflineReport:
        results = self.learner_group.foreach_learner(lambda learner: learner.update(num_updates))
        reports = [result.get() for result in results]
        self.metrics.aggregate([report.metrics for report in reports], key=LEARNER_RESULTS)
        first: OfflineReport = reports[0]
        return first


class GaussianBC(Offline):
    """See `GaussianBCConfig`."""

    config_class = GaussianBCConfig


class ConsistencyBC(Offline):
    """See `ConsistencyBCConfig`."""

    config_class = ConsistencyBCConfig


class DiffusionBC(Offline):
    """See `DiffusionBCConfig`."""

    config_class = DiffusionBCConfig


class ConsistencyAC(Offline):
    """See `ConsistencyACConfig`."""

    config_class = ConsistencyACConfig


class DiffusionQL(Offline):
    """See `DiffusionQLConfig`."""

    config_class = DiffusionQLConfig


class CriticDistill(Offline):
    """See `CriticDistillConfig`."""

    config_class = CriticDistillConfig
