"""The configuration of `Distill`: RLlib's, with sections of our own."""

import dataclasses
from typing import Any, Self

import gymnasium as gym
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from actors.operators.base import ImprovementOperator
from actors.operators.config import ActingConfig, OperatorChoice
from actors.operators.registry import make_operator
from actors.simulators.latent import LatentSimulator
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.policies.distill_networks import LatentNetworks, StudentNetworks, make_networks
from distill_rl.policies.rl_module import ConsistencyModule
from distill_rl.policies.search_policy import LatentSearchPolicy
from learners.config import DistillationConfig
from learners.learner import DistillLearner
from learners.objectives import make_objective

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


class DistillConfig(SearchLoopConfig):
    """Configures `Distill`.

    Beside RLlib's own sections there are five of ours; each takes the fields of frozen dataclasses as
    keyword arguments, and refuses every other name:

    * `search`: `OperatorChoice`, the settings of the operator it names (`RootBanditConfig` unless told
      otherwise), and `ActingConfig`: how actors search and act;
    * `distillation`: `DistillationConfig`, what the learner does with reference sets;
    * `loop`: `LoopConfig`, how actors and learners keep in step;
    * `edge`: `RedisConfig`, `StreamConfig` and `PublicationConfig`, for actors and robots outside Ray;
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

    sections = SearchLoopConfig.sections | {
        "distillation": (DistillationConfig,),
        "world_model": (WorldModelConfig,),
    }
    replaced_settings = _ELSEWHERE

    def __init__(self, algo_class: type | None = None) -> None:
        if algo_class is None:
            from distill_rl.algorithms.distill import Distill

            algo_class = Distill
        super().__init__(algo_class=algo_class)
        self._close()

    def distillation(self, **options: Any) -> Self:
        """Sets fields of `DistillationConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("distillation", options)

    def world_model(self, **options: Any) -> Self:
        """Sets fields of `WorldModelConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("world_model", options)

    @property
    def discount(self) -> float:
        """The discount of one environment step."""
        return self.operator_config.discount

    @property
    def replay_capacity(self) -> int:
        """Reference sets that all learners keep together."""
        return self.part(DistillationConfig).replay_capacity

    @property
    def num_history_steps(self) -> int:
        """Real steps that go with each reference set: data of the learned model, if there is one."""
        world_model = self.part(WorldModelConfig)
        return world_model.num_model_steps if world_model.enabled else 0

    def make_networks(self, observation_size: int, action_size: int) -> StudentNetworks:
        """Builds what the actors search with, small: to check what needs no learned weights.

        Args:
          observation_size: `O`.
          action_size: `A`.
        """
        settings = {"hidden_sizes": (1,)}
        return make_networks(observation_size, action_size, settings, self.part(WorldModelConfig))

    def make_operator(self, env: gym.Env, networks: StudentNetworks) -> ImprovementOperator:
        """Builds the operator that the section `search` describes.

        Args:
          env: what its simulator reproduces.
          networks: those with a learned model are simulated instead.

        Raises:
          ValueError: if no simulator can reproduce the environment, or the settings do not fit it.
        """
        if not isinstance(networks, LatentNetworks):
            return super().make_operator(env, networks)
        simulator = LatentSimulator(LatentSearchPolicy(networks), env)
        return make_operator(env, self.part(OperatorChoice), self.operator_config, simulator)

    def validate(self) -> None:
        """Checks every option and what the sections have to agree on.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        super().validate()
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
