"""The configuration of `Online`, and those of the methods that it runs."""

import dataclasses
from pathlib import Path
from typing import Any, Self

from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from actors.operators.config import OperatorConfig
from distill_rl.algorithms.initial_checkpoint import read_trainer_state
from distill_rl.algorithms.offline_config import (
    LEARNING_INSTEAD,
    ConsistencyACConfig,
    CriticDistillConfig,
    DiffusionQLConfig,
    module_settings,
)
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.policies.offline_networks import OfflineNetworks
from distill_rl.policies.rl_module import OfflineModule
from learners.offline.config import ExperienceConfig, LearningConfig
from learners.offline.online_learner import OnlineLearner
from learners.offline.trainer import network_settings


class OnlineConfig(SearchLoopConfig):
    """Configures `Online`: learning from what the actors do.

    Beside RLlib's own sections there are three of ours; each takes the fields of frozen dataclasses as
    keyword arguments, and refuses every other name:

    * `search`: as in `DistillConfig`, with the operator `critic` unless told otherwise;
    * `learning`: `LearningConfig`, what is learned and how, as in `OfflineConfig`, and `ExperienceConfig`:
      from how many steps, and from which checkpoint on;
    * `loop`: `LoopConfig`, how actors and learners keep in step.

    The published methods are subclasses with other defaults.

        config = (
            OnlineConsistencyACConfig()
            .environment("Hopper-v5")
            .learning(q_weight=0.1, initial_checkpoint="runs/hopper_medium_replay")
            .loop(updates_per_step=1.0)
        )
        algorithm = config.build_algo()
    """

    sections = SearchLoopConfig.sections | {"learning": (LearningConfig, ExperienceConfig)}
    replaced_settings = LEARNING_INSTEAD
    method_options: dict[str, Any] = {}
    """Options of `learning` that make the method."""

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            from distill_rl.algorithms import online

            algo_class = getattr(online, type(self).__name__.removesuffix("Config"))
        super().__init__(algo_class=algo_class)
        self.search_options = {"operator": "critic"}
        self.learning_options = dict(self.method_options)
        self._close()

    def learning(self, **options: Any) -> Self:
        """Sets fields of `LearningConfig` and `ExperienceConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("learning", options)

    @property
    def operator_config(self) -> OperatorConfig:
        """The configuration of the operator that the section `search` names."""
        return dataclasses.replace(super().operator_config, discount=self.part(LearningConfig).discount)

    @property
    def replay_capacity(self) -> int:
        """Reference sets that all learners keep together."""
        return self.part(ExperienceConfig).replay_capacity

    @property
    def num_policy_steps(self) -> int:
        """Denoising steps of the policy that is searched with."""
        return self.part(LearningConfig).num_sampling_steps

    @property
    def num_history_steps(self) -> int:
        """Real steps that go with each reference set: the one taken in its state."""
        return 1

    def check_env(self) -> None:
        """Checks that the environment can be built, and that the checkpoint to start from can be read.

        Raises:
          ValueError: if one of them cannot.
        """
        super().check_env()
        self.read_initial_state()

    def read_initial_state(self) -> dict[str, Any] | None:
        """Returns the trainer's state of the checkpoint to start from, if there is one.

        Raises:
          ValueError: if it cannot be read.
        """
        path = self.part(ExperienceConfig).initial_checkpoint
        return None if path is None else read_trainer_state(path)

    def resume_from(self, checkpoint: Path) -> None:
        """Starts from no other checkpoint."""
        self.learning(initial_checkpoint=None)

    def make_networks(self, observation_size: int, action_size: int) -> OfflineNetworks:
        """Builds what the actors search with.

        Args:
          observation_size: `O`.
          action_size: `A`.
        """
        settings = network_settings(self.part(LearningConfig))
        return OfflineNetworks(observation_size, action_size, **settings)

    def validate(self) -> None:
        """Checks every option and what the sections have to agree on.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        super().validate()
        if not self.part(LearningConfig).has_critic:
            raise ValueError(
                "`learning.improvement` must be gradient or references to learn from own steps, got none"
            )
        if "discount" in self.search_options:
            raise ValueError("`search.discount` is not used here; set learning(discount=...)")

    def get_default_learner_class(self) -> type[OnlineLearner]:
        """Returns the learner's class."""
        return OnlineLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the module's specification."""
        return RLModuleSpec(module_class=OfflineModule)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | module_settings(self.part(LearningConfig))


class OnlineConsistencyACConfig(OnlineConfig):
    """Consistency-AC (Ding & Jin, 2024) from its own steps."""

    method_options = ConsistencyACConfig.method_options


class OnlineDiffusionQLConfig(OnlineConfig):
    """Diffusion-QL (Wang et al., 2023) from its own steps."""

    method_options = DiffusionQLConfig.method_options


class OnlineCriticDistillConfig(OnlineConfig):
    """Ours: reference sets that a critic weighs, with a model of one's own steps to draw them from."""

    method_options = CriticDistillConfig.method_options


ONLINE_METHODS: dict[str, type[OnlineConfig]] = {
    "online_consistency_ac": OnlineConsistencyACConfig,
    "online_diffusion_ql": OnlineDiffusionQLConfig,
    "online_critic_distill": OnlineCriticDistillConfig,
}
"""By name, as `run.algorithm` of a preset has it."""
