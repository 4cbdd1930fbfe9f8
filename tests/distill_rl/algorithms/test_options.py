import dataclasses
from typing import Literal

import pytest

from distill_rl.algorithms.options import build_part, check_options


@dataclasses.dataclass(frozen=True)
class _Part:
    num_candidates: int = 16
    temperature: float = 1.0
    sizes: tuple[int, ...] = (1, 2)
    limit: int | None = None
    is_on: bool = True
    order: Literal["up", "down"] = "up"


def test_check_options_unknown_name_names_nearest():
    """A typo is an error that names the nearest field."""
    with pytest.raises(
        ValueError, match=r"`search` has no option 'num_candidate'.*did you mean 'num_candidates'"
    ):
        check_options("search", {"num_candidate": 3}, (_Part,))


@pytest.mark.parametrize(
    "options",
    [{"num_candidates": 3.5}, {"num_candidates": True}, {"sizes": 3}, {"sizes": ["a"]}, {"is_on": 1}],
)
def test_check_options_wrong_type_is_refused(options):
    """A value of another type than the field's is an error that names the field."""
    with pytest.raises(ValueError, match=f"`search.{next(iter(options))}` must be"):
        check_options("search", options, (_Part,))


def test_check_options_names_the_choices():
    """Of a field that has some."""
    with pytest.raises(ValueError, match=r"`search.order` must be one of 'up', 'down', got 'sideways'"):
        check_options("search", {"order": "sideways"}, (_Part,))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 2},
        {"sizes": [3, 4]},
        {"limit": None},
        {"limit": 3},
        {"num_candidates": {"grid_search": [1, 2]}},
    ],
)
def test_check_options_accepts_what_the_field_declares(options):
    """Integers pass for floats, lists for tuples, None for optionals, and search spaces for anything."""
    check_options("search", options, (_Part,))


def test_build_part_takes_its_own_options_only():
    """A dataclass takes the options that are its fields, with lists turned into tuples."""
    assert build_part(_Part, {"sizes": [3, 4], "elsewhere": 1}) == _Part(sizes=(3, 4))
