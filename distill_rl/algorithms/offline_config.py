"""The configuration of `Offline`, and those of the methods that it runs."""

from typing import Any, Self

import gymnasium as gym
import numpy as np
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from actors.policy_runner import PolicyEnvRunner, make_config_env
from distill_rl.algorithms.sectioned_config import SectionedConfig
from distill_rl.checks import check_shape
from distill_rl.datasets.store import find_dataset, load_dataset
from distill_rl.policies.rl_module import OfflineModule
from learners.offline.config import DatasetConfig, LearningConfig
from learners.offline.learner import OfflineLearner
from learners.offline.trainer import network_settings

LEARNING_INSTEAD = {
    "lr": "learning(learning_rate=...)",
    "gamma": "learning(discount=...)",
    "grad_clip": "learning(grad_clip_norm=...)",
    "_train_batch_size_per_learner": "learning(batch_size=...)",
    "minibatch_size": "learning(batch_size=...)",
}
"""Settings of RLlib that a section `learning` has in their place."""

_ELSEWHERE = {
    **LEARNING_INSTEAD,
    "input_": "dataset(name=...)",
    "num_env_runners": "evaluation(evaluation_num_env_runners=...)",
}


class OfflineConfig(SectionedConfig):
    """Configures `Offline`: learning from a fixed dataset.

    Beside RLlib's own sections there are two of ours; each takes the fields of a frozen dataclass as keyword
    arguments, and refuses every other name:

    * `dataset`: `DatasetConfig`, what is learned from;
    * `learning`: `LearningConfig`, what is learned and how.

    The environment only evaluates, and may be left out. Its observations and actions must have the sizes of
    the dataset's. The published methods are subclasses with other defaults.

        config = (
            ConsistencyACConfig()
            .environment("Hopper-v5")
            .dataset(name="hopper-medium-replay")
            .learning(q_weight=0.1)
            .evaluation(evaluation_interval=10, evaluation_duration=10)
        )
        algorithm = config.build_algo()
    """

    sections = {"dataset": (DatasetConfig,), "learning": (LearningConfig,)}
    replaced_settings = _ELSEWHERE
    method_options: dict[str, Any] = {}
    """Options of `learning` that make the method."""

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            algo_class = self._find_algorithm()
        super().__init__(algo_class=algo_class)
        self.learning_options = dict(self.method_options)
        self.env_runner_cls = PolicyEnvRunner
        # There is nothing to sample: environment runners exist for evaluation alone.
        self._is_online = False
        self.num_envs_per_env_runner = 5
        self.evaluation_config = {"explore": False}
        self._close()

    def dataset(self, **options: Any) -> Self:
        """Sets fields of `DatasetConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("dataset", options)

    def learning(self, **options: Any) -> Self:
        """Sets fields of `LearningConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("learning", options)

    def validate(self) -> None:
        """Checks every option, and takes the sizes of observations and actions from the dataset.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        super().validate()
        if not self.part(DatasetConfig).name:
            raise ValueError("`dataset.name` must be set, as in `config.dataset(name='hopper-medium')`")
        self.observation_space, self.action_space = self._dataset_spaces()

    def check_env(self) -> None:
        """Checks that the environment, if there is one, has the sizes of the dataset.

        Raises:
          ValueError: if it has not, or cannot be built.
        """
        if self.env is None:
            return
        dataset, env = load_dataset(self.part(DatasetConfig).name), make_config_env(self)
        try:
            for name, space in (("observations", env.observation_space), ("actions", env.action_space)):
                assert space.shape is not None
                check_shape(f"dataset {name}", getattr(dataset, name), (None, *space.shape))
        finally:
            env.close()

    def get_default_learner_class(self) -> type[OfflineLearner]:
        """Returns the learner's class."""
        return OfflineLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the module's specification."""
        return RLModuleSpec(module_class=OfflineModule)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | self.module_settings()

    @property
    def batch_size(self) -> int:
        """Steps of the dataset in an update."""
        return self.part(LearningConfig).batch_size

    @property
    def updates_per_iteration(self) -> int:
        """Updates between two results."""
        return self.part(LearningConfig).updates_per_iteration

    def module_settings(self) -> dict[str, Any]:
        """Returns the `model_config` of the module."""
        return module_settings(self.part(LearningConfig))

    def acting_settings(self) -> dict[str, Any]:
        """Returns how the policy acts."""
        return acting_settings(self.part(LearningConfig))

    def _find_algorithm(self) -> type:
        from distill_rl.algorithms import offline

        found: type = getattr(offline, type(self).__name__.removesuffix("Config"))
        return found

    def _dataset_spaces(self) -> tuple[gym.Space, gym.Space]:
        dataset = load_dataset(find_dataset(self.part(DatasetConfig).name, "dataset.name"))
        observation_size, action_size = dataset.observations.shape[1], dataset.actions.shape[1]
        return (
            gym.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32),
            gym.spaces.Box(-1.0, 1.0, (action_size,), np.float32),
        )


def acting_settings(learning: LearningConfig) -> dict[str, Any]:
    """Returns how a policy acts that was learned like this."""
    return {
        "num_steps": learning.num_sampling_steps if learning.policy == "consistency" else 1,
        "noise_scale": learning.noise_scale,
        "num_candidates": learning.num_action_candidates,
    }


def module_settings(learning: LearningConfig) -> dict[str, Any]:
    """Returns the `model_config` of the module of what is learned like this."""
    return {
        "networks": network_settings(learning),
        **acting_settings(learning),
        "inference_noise_scale": learning.noise_scale,
    }


class GaussianBCConfig(OfflineConfig):
    """Behaviour cloning with a Gaussian policy, which acts by its mean."""

    method_options = {"policy": "gaussian", "num_sampling_steps": 1, "noise_scale": 0.0}


class ConsistencyBCConfig(OfflineConfig):
    """Consistency-BC (Ding & Jin, 2024): consistency training on the actions of the dataset."""

    method_options = {"policy": "consistency", "num_sampling_steps": 2}


class DiffusionBCConfig(OfflineConfig):
    """Diffusion-BC (Wang et al., 2023): the actor of Diffusion-QL without a critic."""

    method_options = {"policy": "diffusion", "num_sampling_steps": 5}


class ConsistencyACConfig(OfflineConfig):
    """Consistency-AC (Ding & Jin, 2024): Consistency-BC that climbs a critic too."""

    method_options = {
        **ConsistencyBCConfig.method_options,
        "improvement": "gradient",
        "num_action_candidates": 50,
    }


class DiffusionQLConfig(OfflineConfig):
    """Diffusion-QL (Wang et al., 2023): Diffusion-BC that climbs a critic too."""

    method_options = {
        **DiffusionBCConfig.method_options,
        "improvement": "gradient",
        "num_action_candidates": 50,
    }


class CriticDistillConfig(OfflineConfig):
    """Ours: end points of reference sets that a critic weighs, distilled into a one-step policy."""

    method_options = {
        "policy": "consistency",
        "improvement": "references",
        "num_sampling_steps": 1,
        "noise_scale": 0.0,
    }


OFFLINE_METHODS: dict[str, type[OfflineConfig]] = {
    "gaussian_bc": GaussianBCConfig,
    "consistency_bc": ConsistencyBCConfig,
    "diffusion_bc": DiffusionBCConfig,
    "consistency_ac": ConsistencyACConfig,
    "diffusion_ql": DiffusionQLConfig,
    "critic_distill": CriticDistillConfig,
}
"""By name, as `run.algorithm` of a preset has it."""
