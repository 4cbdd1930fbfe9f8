"""The actor-critic methods of offline learning on the loop: they learn from what their actors do."""

from typing import Any, ClassVar

from distill_rl.algorithms.distill import Distill
from distill_rl.algorithms.online_config import (
    OnlineConfig,
    OnlineConsistencyACConfig,
    OnlineCriticDistillConfig,
    OnlineDiffusionQLConfig,
)


class Online(Distill):
    """The loop of `Distill` with a critic in place of a simulator.

    Env runners improve on the policy by the critic's values of its samples, and act; what they did goes to
    the learner with the reference sets. Learning starts from nothing, or from a checkpoint of the same method
    on a dataset (`initial_checkpoint`).

    Attributes:
      config_class: of the default configuration, which makes a method what it is.
    """

    config_class: ClassVar[type[OnlineConfig]] = OnlineConfig

    @classmethod
    def get_default_config(cls) -> OnlineConfig:
        """Returns the default configuration."""
        return cls.config_class()

    def setup(self, config: OnlineConfig) -> None:
        """Checks environment and checkpoint in this process, then starts actors and learners.

        Raises:
          ValueError: if the environment is unknown or has no bounded continuous actions, or there is no such
            checkpoint, or it is of other networks.
        """
        state = self.config.read_initial_state()
        super().setup(config)
        if state is not None:
            self._start_from(state)

    def _start_from(self, state: dict[str, Any]) -> None:
        self.learner_group.foreach_learner(lambda learner: learner.start_from(state))
        self._broadcast_now()


class OnlineConsistencyAC(Online):
    """See `OnlineConsistencyACConfig`."""

    config_class = OnlineConsistencyACConfig


class OnlineDiffusionQL(Online):
    """See `OnlineDiffusionQLConfig`."""

    config_class = OnlineDiffusionQLConfig


class OnlineCriticDistill(Online):
    """See `OnlineCriticDistillConfig`."""

    config_class = OnlineCriticDistillConfig
