"""From sections of a preset to the configuration: every name and type checked before Ray starts."""

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import DEPRECATED_VALUE, AlgorithmConfig

from distill_rl.algorithms.cm_ppo_config import CMPPOConfig
from distill_rl.algorithms.distill_config import DistillConfig
from distill_rl.algorithms.offline_config import OFFLINE_METHODS, OfflineConfig
from distill_rl.algorithms.online_config import ONLINE_METHODS
from distill_rl.algorithms.options import build_part, check_options
from distill_rl.algorithms.ractd_config import RACTDConfig
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.checks import nearest
from distill_rl.cli.settings import DISTILL, RACTD, SEARCH_ALGORITHMS, RunSettings

RLLIB_SECTIONS = (
    "environment",
    "env_runners",
    "learners",
    "training",
    "evaluation",
    "rl_module",
    "fault_tolerance",
    "reporting",
    "resources",
    "framework",
    "debugging",
)
"""The methods of RLlib's `AlgorithmConfig` that a preset may call."""

RUN_SECTION = "run"

RunConfig = SearchLoopConfig | OfflineConfig | CMPPOConfig
"""What a run can be of."""

_CONFIGS: dict[str, type[SearchLoopConfig] | type[OfflineConfig] | type[CMPPOConfig]] = {
    DISTILL: DistillConfig,
    **OFFLINE_METHODS,
    **ONLINE_METHODS,
    "cm_ppo": CMPPOConfig,
    RACTD: RACTDConfig,
}


def build_config(
    sections: Mapping[str, Mapping[str, Any]],
) -> tuple[RunConfig, RunSettings]:
    """Builds and validates the configuration that the sections describe. Ray is not started.

    Args:
      sections: keyword arguments by section.

    Returns:
      The algorithm's configuration and the driver's settings.

    Raises:
      ValueError: for an unknown section or name (naming the nearest), a wrong type, or a value out of range.
    """
    run_options = sections.get(RUN_SECTION, {})
    check_options(RUN_SECTION, run_options, (RunSettings,))
    settings = build_part(RunSettings, run_options)
    config_type = _CONFIGS[settings.algorithm]
    if "max_learner_restarts" in run_options and not issubclass(config_type, SearchLoopConfig):
        raise ValueError(
            f"`run.max_learner_restarts` is not used by {settings.algorithm}, whose learners come back with "
            "the driver; leave it out, and start the run with --restarts"
        )
    known = (*RLLIB_SECTIONS, *config_type.sections, RUN_SECTION)
    for name in sections:
        if name in SearchLoopConfig.sections and name not in known:
            raise ValueError(
                f"section {name!r} must be of a training that searches ({', '.join(SEARCH_ALGORITHMS)}), got "
                f"one by {settings.algorithm}"
            )
        if name not in known:
            raise ValueError(
                f"no section is called {name!r}{nearest(name, known)}; there are {', '.join(known)}"
            )
    config = config_type()
    for name, options in sections.items():
        if name in RLLIB_SECTIONS:
            check_options(name, options, (_as_dataclass(config_type, name),))
        if name != RUN_SECTION:
            getattr(config, name)(**options)
    config.validate()
    return config, settings


def _as_dataclass(config_type: type[AlgorithmConfig], section: str) -> type:
    """Returns a dataclass of the keyword arguments of a section of RLlib, deprecated ones apart.

    Methods of subclasses hand what they do not know on to those that they override.
    """
    methods = [vars(parent)[section] for parent in config_type.__mro__ if section in vars(parent)]
    parameters = {
        name: p for method in reversed(methods) for name, p in inspect.signature(method).parameters.items()
    }
    named = [p for p in parameters.values() if p.kind is p.KEYWORD_ONLY or p.kind is p.POSITIONAL_OR_KEYWORD]
    fields = [
        (p.name, _annotation(p), None) for p in named if p.name != "self" and p.default != DEPRECATED_VALUE
    ]
    return dataclasses.make_dataclass(section, fields)


def _annotation(parameter: inspect.Parameter) -> Any:
    """Returns the annotation, or `Any` for one that is absent or names what cannot be resolved here."""
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty or _has_forward_reference(annotation):
        return Any
    return annotation


def _has_forward_reference(annotation: Any) -> bool:
    if isinstance(annotation, (str, typing.ForwardRef)):
        return True
    return any(_has_forward_reference(argument) for argument in _arguments(annotation))


def _arguments(annotation: Any) -> list[Any]:
    arguments = typing.get_args(annotation)
    return [item for a in arguments for item in (a if isinstance(a, list) else [a])]
