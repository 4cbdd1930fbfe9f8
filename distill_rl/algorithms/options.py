"""Options of a config section: keyword arguments checked against the fields of frozen dataclasses.

The fields of the dataclasses are the only list of knobs; a section method takes `**options` and hands them
here.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ray.rllib.utils.typing import LearningRateOrSchedule

from distill_rl.checks import nearest

Part = TypeVar("Part")


def check_options(section: str, options: Mapping[str, Any], parts: tuple[type, ...]) -> None:
    """Checks that every option is a field of one of `parts` and has the type the field declares.

    Search spaces of Ray Tune (`tune.uniform(...)`, `{"grid_search": [...]}`) pass: Tune replaces them before
    the values are used, and `build_part` checks those.

    Args:
      section: name of the section, for the message.
      options: names and values.
      parts: dataclasses whose fields the section accepts.

    Raises:
      ValueError: naming the nearest valid option, or the expected and the received type.
    """
    hints = {name: hint for part in parts for name, hint in _field_hints(part).items()}
    for name, value in options.items():
        if name not in hints:
            raise ValueError(
                f"`{section}` has no option {name!r}{nearest(name, hints)}; it has {', '.join(sorted(hints))}"
            )
        if not is_search_space(value) and not _matches(value, hints[name]):
            raise ValueError(
                f"`{section}.{name}` must be {_describe(hints[name])}, got {value!r} ({type(value).__name__})"
            )


def build_part(part: type[Part], options: Mapping[str, Any]) -> Part:
    """Builds the dataclass `part` from those of `options` that are its fields.

    Lists, which YAML writes for tuples, become tuples.

    Raises:
      ValueError: from the checks of the dataclass itself.
    """
    hints = _field_hints(part)
    own = {name: value for name, value in options.items() if name in hints}
    return part(**{name: _as_tuple(value, hints[name]) for name, value in own.items()})


def is_search_space(value: Any) -> bool:
    """Returns whether `value` is a search space of Ray Tune rather than a value."""
    if isinstance(value, Mapping):
        return set(value) == {"grid_search"}
    return type(value).__module__.startswith("ray.tune.search")


def _field_hints(part: type) -> dict[str, Any]:
    hints = typing.get_type_hints(part)
    return {field.name: hints[field.name] for field in dataclasses.fields(part) if field.init}


def _matches(value: Any, hint: Any) -> bool:
    """Returns whether `value` may stand for `hint`. Integers pass for floats, lists for tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_matches(item, arguments[0]) for item in value)
    if origin is not None:
        return callable(value) if origin is Callable else isinstance(value, origin)
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def _as_tuple(value: Any, hint: Any) -> Any:
    is_tuple = any(typing.get_origin(h) is tuple for h in (hint, *typing.get_args(hint)))
    return tuple(value) if is_tuple and isinstance(value, list) else value


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    if set(typing.get_args(LearningRateOrSchedule)) <= set(typing.get_args(hint)):
        return "a number or a schedule"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
