"""RLlib's configuration with sections of our own, in which a mistake is an error."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from distill_rl.algorithms.options import build_part, check_options, is_search_space
from distill_rl.checks import nearest

Part = TypeVar("Part")


class SectionedConfig(AlgorithmConfig):
    """Beside RLlib's own, has sections whose options are the fields of frozen dataclasses.

    The options of a section are kept as `{section}_options`. A subclass has one method for each section that
    calls `_set_options`, and ends its constructor with `_close`, after which no unknown attribute can be set.
    """

    sections: ClassVar[dict[str, tuple[type, ...]]]
    """The sections, with the dataclasses whose fields are their options."""
    replaced_settings: ClassVar[dict[str, str]] = {}
    """Settings of RLlib that have no effect, with what to set instead."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        for section in self.sections:
            setattr(self, f"{section}_options", {})
        self.log_level = "ERROR"

    def part(self, part: type[Part]) -> Part:
        """Builds one of the dataclasses behind the sections.

        Raises:
          ValueError: if no section has it.
        """
        parts_of = {section: self._parts_of(section, self._options(section)) for section in self.sections}
        for section, parts in parts_of.items():
            if part in parts:
                return build_part(part, self._options(section))
        known = ", ".join(p.__name__ for parts in parts_of.values() for p in parts)
        raise ValueError(f"`part` must be one of {known}; got {part.__name__}")

    def validate(self) -> None:
        """Checks every option.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        logging.getLogger("ray.rllib").setLevel(self.log_level)
        super().validate()
        for section in self.sections:
            options = self._options(section)
            parts = self._parts_of(section, options)
            check_options(section, options, parts)
            for part in parts:
                build_part(part, options)
        defaults = AlgorithmConfig()
        for name, instead in self.replaced_settings.items():
            if getattr(self, name) != getattr(defaults, name):
                algorithm = type(self).__name__.removesuffix("Config")
                raise ValueError(f"`{name.lstrip('_')}` is not used by {algorithm}; set {instead}")

    def resume_from(self, checkpoint: Path) -> None:
        """Forgets the checkpoints that a run once started from: its own have all of it.

        Args:
          checkpoint: folder of the run's own that it goes on from.
        """

    def _parts_of(self, section: str, options: Mapping[str, Any]) -> tuple[type, ...]:
        """Returns the dataclasses of a section that has these options."""
        return self.sections[section]

    def _options(self, section: str) -> dict[str, Any]:
        options: dict[str, Any] = getattr(self, f"{section}_options")
        return options

    def _merged(self, section: str, options: dict[str, Any]) -> dict[str, Any]:
        """Returns the options of a section with new ones over them."""
        return self._options(section) | options

    def _set_options(self, section: str, options: dict[str, Any]) -> Self:
        merged = self._merged(section, options)
        parts = self._parts_of(section, merged)
        check_options(section, merged, parts)
        if not any(map(is_search_space, merged.values())):
            for part in parts:
                build_part(part, merged)
        setattr(self, f"{section}_options", merged)
        return self

    def _close(self) -> None:
        self._known_names = frozenset(vars(self)) | {"_known_names", "class"}

    def __setattr__(self, key: str, value: Any) -> None:
        known = cast(frozenset[str], self.__dict__.get("_known_names", frozenset()))
        if known and key not in known and not key.startswith("_") and not hasattr(type(self), key):
            raise ValueError(f"`{type(self).__name__}` has no setting {key!r}{nearest(key, known)}")
        super().__setattr__(key, value)
