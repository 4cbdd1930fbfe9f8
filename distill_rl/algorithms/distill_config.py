"""The configuration of `Distill`: RLlib's, with sections of our own."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

import gymnasium as gym
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from actors.operators.base import ImprovementOperator
from actors.operators.config import ActingConfig, OperatorChoice, OperatorConfig
from actors.operators.registry import find_operator, make_operator
from actors.runner import SearchEnvRunner
from actors.simulators.latent import LatentSimulator
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.algorithms.options import build_part
from distill_rl.algorithms.sectioned_config import SectionedConfig
from distill_rl.networks.distill_networks import LatentNetworks, StudentNetworks
from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.policies.rl_module import ConsistencyModule
from distill_rl.policies.search_policy import LatentSearchPolicy
from learners.config import DistillationConfig
from learners.learner import DistillLearner
from learners.objectives import make_objective

SECTIONS: dict[str, tuple[type, ...]] = {
    "search": (OperatorChoice, ActingConfig),
    "distillation": (DistillationConfig,),
    "loop": (LoopConfig,),
    "world_model": (WorldModelConfig,),
}
"""The sections that are ours, with the dataclasses whose fields are their options.

`search` has those of the operator's `config_type` too, see `section_parts`.
"""

_ELSEWHERE = {
    "lr": "distillation(learning_rate=...)",
    "gamma": "search(discount=...)",
    "grad_clip": "distillation(grad_clip_norm=...)",
    "_train_batch_size_per_learner": "distillation(batch_size=...)",
    "minibatch_size": "distillation(batch_size=...)",
}


_WITHOUT_MODEL = (
    ("search", "num_simulator_threads"),
    ("search", "num_transitions"),
    ("distillation", "value_loss_weight"),
)
"""Options about simulators, and about the value network, which a learned model replaces."""

_NETWORK_OPTIONS = ("hidden_sizes", "sigma_min", "sigma_max", "sigma_data")


def section_parts(section: str, options: Mapping[str, Any]) -> tuple[type, ...]:
    """Returns the dataclasses whose fields are the options of a section.

    Args:
      section: one of `SECTIONS`.
      options: of the section; in `search` they name the operator.

    Raises:
      ValueError: if the operator is unknown.
    """
    parts = SECTIONS[section]
    if section != "search":
        return parts
    operator = options.get("operator", OperatorChoice.operator)
    if not isinstance(operator, str):
        raise ValueError(f"`search.operator` must be the name of one operator, got {operator!r}")
    return (*parts, find_operator(operator).config_type)


def forgotten_options(names: Iterable[str], old_operator: str | None, new_operator: str | None) -> list[str]:
    """Returns those options of the section `search` that a new operator does not have.

    Args:
      names: of the options set so far.
      old_operator: the operator they were set for; None for the default.
      new_operator: the operator named now; None for the same as before.

    Raises:
      ValueError: if an operator is unknown.
    """
    if new_operator is None or new_operator == (old_operator or OperatorChoice.operator):
        return []
    parts = section_parts("search", {"operator": new_operator})
    known = {field.name for part in parts for field in dataclasses.fields(part)}
    return [name for name in names if name not in known]


class DistillConfig(SectionedConfig):
    """Configures `Distill`.

    Beside RLlib's own sections there are four of ours; each takes the fields of frozen dataclasses as
    keyword arguments, and refuses every other name:

    * `search`: `OperatorChoice`, the settings of the operator it names (`RootBanditConfig` unless told
      otherwise), and `ActingConfig`: how actors search and act;
    * `distillation`: `DistillationConfig`, what the learner does with reference sets;
    * `loop`: `LoopConfig`, how actors and learners keep in step;
    * `world_model`: `WorldModelConfig`, a learned model to search in, instead of a simulator.

    Environments are built by `distill_rl.envs.make_env`: any Gymnasium id, class or name registered with Ray
    Tune. `env_config` goes to the environment, except for `action_repeat`.

        config = (
            DistillConfig()
            .environment("dm_control/cheetah-run-v0", env_config={"action_repeat": 2})
            .env_runners(num_env_runners=1, num_envs_per_env_runner=16)
            .search(num_candidates=16)
            .distillation(batch_size=256)
            .loop(updates_per_step=0.5)
        )
        algorithm = config.build_algo()
    """

    sections = SECTIONS
    replaced_settings = _ELSEWHERE

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            from distill_rl.algorithms.distill import Distill

            algo_class = Distill
        super().__init__(algo_class=algo_class)
        self.env_runner_cls = SearchEnvRunner
        self.num_envs_per_env_runner = 16
        self.rollout_fragment_length = 8
        # A restarted runner would get the weights of the local one, which nothing updates.
        self.create_local_env_runner = False
        self.restart_failed_env_runners = True
        self.delay_between_env_runner_restarts_s = 0.0
        self.env_runner_health_probe_timeout_s = 0.1
        self.evaluation_config = {"explore": False, "num_envs_per_env_runner": 5}
        self.min_sample_timesteps_per_iteration = 1_000
        # Would call every runner after each iteration, behind the searches in flight.
        self._dont_auto_sync_env_runner_states = True
        self._close()

    def search(self, **options: Any) -> Self:
        """Sets fields of `OperatorChoice`, of the operator's configuration and of `ActingConfig`.

        Choosing another operator forgets the options that only the old one has.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("search", options)

    def distillation(self, **options: Any) -> Self:
        """Sets fields of `DistillationConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("distillation", options)

    def loop(self, **options: Any) -> Self:
        """Sets fields of `LoopConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("loop", options)

    def world_model(self, **options: Any) -> Self:
        """Sets fields of `WorldModelConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("world_model", options)

    @property
    def operator_config(self) -> OperatorConfig:
        """The configuration of the operator that the section `search` names."""
        operator_type = find_operator(self.part(OperatorChoice).operator)
        return build_part(operator_type.config_type, self.search_options)

    @property
    def discount(self) -> float:
        """The discount of one environment step."""
        return self.operator_config.discount

    def make_operator(self, env: gym.Env, networks: StudentNetworks) -> ImprovementOperator:
        """Builds the operator that the section `search` describes.

        Args:
          env: what its simulator reproduces.
          networks: those with a learned model are simulated instead.

        Raises:
          ValueError: if no simulator can reproduce the environment, or the settings do not fit it.
        """
        simulator = None
        if isinstance(networks, LatentNetworks):
            simulator = LatentSimulator(LatentSearchPolicy(networks), env)
        return make_operator(env, self.part(OperatorChoice), self.operator_config, simulator)

    def validate(self) -> None:
        """Checks every option and what the sections have to agree on.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        super().validate()
        if not isinstance(self.rollout_fragment_length, int) or self.rollout_fragment_length < 1:
            raise ValueError(
                "`rollout_fragment_length` must be an integer of at least 1, got "
                f"{self.rollout_fragment_length!r}"
            )
        if self.part(WorldModelConfig).enabled:
            for section, name in _WITHOUT_MODEL:
                if name in getattr(self, f"{section}_options"):
                    raise ValueError(f"`{section}.{name}` is not used with a learned model; leave it out")
        elif self.part(OperatorChoice).operator == "critic":
            raise ValueError(
                "`search.operator` critic needs values of actions, which a learned model has; set "
                "world_model(enabled=True)"
            )
        # Estimators that call p* as a function are refused here: a search knows it at its candidates only.
        make_objective(self.part(DistillationConfig))

    def get_default_learner_class(self) -> type[DistillLearner]:
        """Returns the learner's class."""
        return DistillLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the module's specification."""
        return RLModuleSpec(module_class=ConsistencyModule)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        distillation, acting = self.part(DistillationConfig), self.part(ActingConfig)
        own = {
            "networks": {name: getattr(distillation, name) for name in _NETWORK_OPTIONS},
            "world_model": dataclasses.asdict(self.part(WorldModelConfig)),
            "noise_scale": acting.student_noise_scale,
            "inference_noise_scale": 0.0,
            "num_steps": 1,
        }
        return super()._model_config_auto_includes | own

    def _parts_of(self, section: str, options: Mapping[str, Any]) -> tuple[type, ...]:
        return section_parts(section, options)

    def _merged(self, section: str, options: dict[str, Any]) -> dict[str, Any]:
        merged = super()._merged(section, options)
        if section == "search":
            old = self._options(section)
            for name in forgotten_options(list(old), old.get("operator"), options.get("operator")):
                if name not in options:
                    del merged[name]
        return merged
