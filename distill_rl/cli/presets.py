"""Presets: YAML files whose top-level keys are sections of the configuration.

    environment:                 # AlgorithmConfig.environment(env=..., env_config=...)
      env: dm_control/cheetah-run-v0
    search:                      # DistillConfig.search(num_candidates=...)
      num_candidates: 16
    cluster:                     # what differs on a cluster; `laptop`, `collect` and `small` likewise
      env_runners:
        num_env_runners: 32
    diffusion_ql:                # what differs with that algorithm (`run.algorithm`), likewise for the others
      learning:
        q_weight: 1.0

Each level overrides the one before: `base.yaml` (`base_offline.yaml` for what learns from a dataset,
`base_online.yaml` for the same methods on their own steps, `base_ppo.yaml` for PPO, `base_ractd.yaml`), its
blocks of the size and of the algorithm, the preset, its blocks of both, the overrides of the command line.
"""

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

import distill_rl
from distill_rl.checks import check_choice, nearest
from distill_rl.cli.settings import ALGORITHMS, DISTILL, ONLINE_ALGORITHMS, PPO_ALGORITHMS, RACTD

COLLECT = "collect"
"""The size that `distill-rl collect` trains in: one process, and no action is repeated."""

SMALL = "small"
"""The size of what is published with large networks, for two cores."""

SIZES = ("laptop", "cluster", COLLECT, SMALL)

_BASE, _OFFLINE_BASE, _ONLINE_BASE, _PPO_BASE = "base", "base_offline", "base_online", "base_ppo"
_RACTD_BASE = "base_ractd"
_BASES = {_BASE, _OFFLINE_BASE, _ONLINE_BASE, _PPO_BASE, _RACTD_BASE}
_SUFFIX = ".yaml"
_SEARCH, _RUN = "search", "run"


def presets_folder() -> Traversable:
    """Returns the folder of the presets that come with the package.

    In a wheel they are the package data `distill_rl.presets`. An editable install has no such package: there
    they are the checkout's `configs/`.
    """
    try:
        return resources.files("distill_rl.presets")
    except ModuleNotFoundError:
        assert distill_rl.__file__ is not None
        return Path(distill_rl.__file__).parent.parent / "configs"


def preset_names() -> list[str]:
    """Returns the names of the presets, sorted."""
    names = {entry.name for entry in presets_folder().iterdir() if entry.name.endswith(_SUFFIX)}
    return sorted({name.removesuffix(_SUFFIX) for name in names} - _BASES)


def load_preset(preset: str, size: str = "laptop", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Resolves a preset to plain sections.

    Args:
      preset: name of a preset, or path of a YAML file.
      size: which of the blocks applies.
      overrides: `section.key=value` each, with the value in YAML.

    Returns:
      Keyword arguments by section, as plain dictionaries, lists and scalars. Names are not checked here; see
      `distill_rl.cli.sections`.

    Raises:
      ValueError: for an unknown preset or size (naming the nearest), a file that is no mapping of sections,
        or an override that is not of the form above.
    """
    own = _read(_find(preset))
    algorithm = _algorithm(own, _read_overrides(overrides))
    base = _read(presets_folder() / (_base_of(algorithm) + _SUFFIX))
    sizes = [name for name in SIZES if name in base or name in own]
    if size not in SIZES or (size == SMALL and size not in sizes):
        check_choice("size", size, sizes)
    layers = [layer for source in (base, own) for layer in _layers(source, size, algorithm)]
    return _merge(layers, overrides)


def read_sections(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Reads the resolved configuration of a run.

    Args:
      path: its `config.yaml`, as `dump_sections` wrote it.
      overrides: `section.key=value` each.

    Returns:
      Keyword arguments by section.

    Raises:
      ValueError: for a file that is not a mapping of sections, or an override that is not of the form above.
    """
    return _merge([_read(path)], overrides)


def dump_sections(sections: dict[str, Any]) -> str:
    """Writes sections as YAML, such that `read_sections` gives them back."""
    return OmegaConf.to_yaml(OmegaConf.create(sections))


def _merge(layers: list[DictConfig], overrides: Sequence[str]) -> dict[str, Any]:
    """Merges layers in order; one that names another operator drops the options of the old one."""
    merged: Any = OmegaConf.create({})
    for layer in (*layers, _read_overrides(overrides)):
        old, new = merged.get(_SEARCH), layer.get(_SEARCH)
        if isinstance(old, DictConfig) and isinstance(new, DictConfig) and "operator" in new:
            # Here and not above: only this needs the operators, and with them Ray.
            from distill_rl.algorithms.search_loop_config import forgotten_options

            names = [str(name) for name in old]
            for name in forgotten_options(names, old.get("operator"), new.get("operator")):
                del old[name]
        merged = OmegaConf.merge(merged, layer)
    sections = OmegaConf.to_container(merged, resolve=True)
    assert isinstance(sections, dict)
    for section, items in sections.items():
        if not isinstance(items, dict):
            raise ValueError(f"section {section!r} must be a mapping of settings, got {items!r}")
    return {str(section): items for section, items in sections.items()}


def _layers(source: DictConfig, size: str, algorithm: str) -> list[DictConfig]:
    common = {key: source[key] for key in source if key not in (*SIZES, *ALGORITHMS)}
    return [
        OmegaConf.create(common),
        *(source.get(name) or OmegaConf.create({}) for name in (size, algorithm)),
    ]


def _base_of(algorithm: str) -> str:
    """Returns the name of the file that all presets of an algorithm share."""
    if algorithm == DISTILL:
        return _BASE
    if algorithm in PPO_ALGORITHMS:
        return _PPO_BASE
    if algorithm == RACTD:
        return _RACTD_BASE
    return _ONLINE_BASE if algorithm in ONLINE_ALGORITHMS else _OFFLINE_BASE


def _algorithm(*layers: DictConfig) -> str:
    """Returns the algorithm that the last layer with one names."""
    named = [OmegaConf.select(layer, f"{_RUN}.algorithm", default=None) for layer in layers]
    algorithm = next((name for name in reversed(named) if name is not None), DISTILL)
    check_choice(f"{_RUN}.algorithm", algorithm, ALGORITHMS)
    return str(algorithm)


def _read(file: Traversable) -> DictConfig:
    try:
        text = file.read_text(encoding="utf-8")
        config = OmegaConf.create(text)
    except (UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"preset `{file.name}` must be YAML in UTF-8, got {error}") from error
    if not isinstance(config, DictConfig):
        raise ValueError(f"preset `{file.name}` must map sections to settings, got {text[:80]!r}")
    if not config:
        raise ValueError(f"preset `{file.name}` must map sections to settings, got an empty file")
    for section, items in config.items():
        if not isinstance(items, DictConfig):
            raise ValueError(
                f"section {str(section)!r} of preset `{file.name}` must be a mapping of settings, "
                f"got {items!r}"
            )
    return config


def _find(preset: str) -> Traversable:
    if preset.endswith((_SUFFIX, ".yml")):
        path = Path(preset)
        if not path.is_file():
            raise ValueError(f"`preset` must be a name or a YAML file, got no file at {preset!r}")
        return path
    names = preset_names()
    if preset not in names:
        raise ValueError(
            f"`preset` must be the name of one, or a YAML file, got {preset!r}{nearest(preset, names)}; see "
            "`distill-rl presets`"
        )
    return presets_folder() / (preset + _SUFFIX)


def _read_overrides(overrides: Sequence[str]) -> DictConfig:
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or "." not in key.strip("."):
            raise ValueError(f"an override must be of the form section.key=value, got {override!r}")
    try:
        return OmegaConf.from_dotlist(list(overrides))
    except (YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"overrides must have YAML values, got {list(overrides)}: {error}") from error
