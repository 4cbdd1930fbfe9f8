"""What the configurations of all loops share: how actors search, and how they keep in step with learners."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import gymnasium as gym
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

from actors.operators.base import ImprovementOperator
from actors.operators.config import ActingConfig, OperatorChoice, OperatorConfig
from actors.operators.registry import find_operator, make_operator
from actors.policy_runner import make_config_env
from actors.runner import SearchEnvRunner
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.algorithms.options import build_part
from distill_rl.algorithms.sectioned_config import SectionedConfig
from distill_rl.policies.rl_module import PolicyModule
from distill_rl.storage.edge_config import PublicationConfig, RedisConfig, StreamConfig

_SEARCH_PARTS = (OperatorChoice, ActingConfig)


def search_parts(options: Mapping[str, Any]) -> tuple[type, ...]:
    """Returns the dataclasses whose fields are the options of the section `search`.

    Args:
      options: of the section; they name the operator.

    Raises:
      ValueError: if the operator is unknown.
    """
    operator = options.get("operator", OperatorChoice.operator)
    if not isinstance(operator, str):
        raise ValueError(f"`search.operator` must be the name of one operator, got {operator!r}")
    return (*_SEARCH_PARTS, find_operator(operator).config_type)


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
    parts = search_parts({"operator": new_operator})
    known = {field.name for part in parts for field in dataclasses.fields(part)}
    return [name for name in names if name not in known]


class SearchLoopConfig(SectionedConfig):
    """Configures a loop of actors that search and learners that distil.

    Three sections are common to all loops; each takes the fields of frozen dataclasses as keyword arguments,
    and refuses every other name:

    * `search`: `OperatorChoice`, the settings of the operator it names, and `ActingConfig`: how actors search
      and act;
    * `loop`: `LoopConfig`, how actors and learners keep in step;
    * `edge`: `RedisConfig`, `StreamConfig` and `PublicationConfig`, reference sets from and policies for
      those outside Ray; off unless `redis_url` is set.

    Subclasses say what networks there are, how many reference sets are kept, and which real steps go with
    them.
    """

    sections: ClassVar[dict[str, tuple[type, ...]]] = {
        "search": _SEARCH_PARTS,
        "loop": (LoopConfig,),
        "edge": (RedisConfig, StreamConfig, PublicationConfig),
    }

    def __init__(self, algo_class: type | None = None) -> None:
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

    def search(self, **options: Any) -> Self:
        """Sets fields of `OperatorChoice`, of the operator's configuration and of `ActingConfig`.

        Choosing another operator forgets the options that only the old one has.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("search", options)

    def loop(self, **options: Any) -> Self:
        """Sets fields of `LoopConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("loop", options)

    def edge(self, **options: Any) -> Self:
        """Sets fields of `RedisConfig`, `StreamConfig` and `PublicationConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("edge", options)

    @property
    def operator_config(self) -> OperatorConfig:
        """The configuration of the operator that the section `search` names."""
        operator_type = find_operator(self.part(OperatorChoice).operator)
        return build_part(operator_type.config_type, self.search_options)

    @property
    def replay_capacity(self) -> int:
        """Reference sets that all learners keep together."""
        raise NotImplementedError

    @property
    def num_policy_steps(self) -> int:
        """Denoising steps of the policy that is searched with."""
        return 1

    @property
    def num_history_steps(self) -> int:
        """Real steps that go with each reference set; 0 for none."""
        raise NotImplementedError

    def check_env(self) -> None:
        """Checks that the environment can be built.

        Raises:
          ValueError: if it cannot.
        """
        make_config_env(self).close()

    def make_networks(self, observation_size: int, action_size: int) -> Any:
        """Builds what the actors search with, small: to check what needs no learned weights.

        Args:
          observation_size: `O`.
          action_size: `A`.
        """
        raise NotImplementedError

    def make_module(self, env: gym.Env) -> PolicyModule:
        """Builds the module that actors act with, with weights of no meaning. Ray is not started.

        Args:
          env: for its spaces.
        """
        spaces = env.observation_space, env.action_space
        spec = self.get_rl_module_spec(
            spaces={INPUT_ENV_SINGLE_SPACES: spaces, DEFAULT_MODULE_ID: spaces}, inference_only=False
        )
        module = spec.build()
        assert isinstance(module, PolicyModule)
        return module

    def make_operator(self, env: gym.Env, networks: Any) -> ImprovementOperator:
        """Builds the operator that the section `search` describes.

        Args:
          env: what its simulator reproduces.
          networks: those with a learned model are simulated instead.

        Raises:
          ValueError: if no simulator can reproduce the environment, or the settings do not fit it.
        """
        return make_operator(env, self.part(OperatorChoice), self.operator_config)

    def validate(self) -> None:
        """Checks every option.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        super().validate()
        if not isinstance(self.rollout_fragment_length, int) or self.rollout_fragment_length < 1:
            raise ValueError(
                "`rollout_fragment_length` must be an integer of at least 1, got "
                f"{self.rollout_fragment_length!r}"
            )

    def _parts_of(self, section: str, options: Mapping[str, Any]) -> tuple[type, ...]:
        return search_parts(options) if section == "search" else super()._parts_of(section, options)

    def _merged(self, section: str, options: dict[str, Any]) -> dict[str, Any]:
        merged = super()._merged(section, options)
        if section == "search":
            old = self._options(section)
            for name in forgotten_options(list(old), old.get("operator"), options.get("operator")):
                if name not in options:
                    del merged[name]
        return merged
