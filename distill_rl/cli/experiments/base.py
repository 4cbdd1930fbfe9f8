"""What an experiment is."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""One measurement: plain JSON values by name."""

Rows = Sequence[Mapping[str, Any]]

SCALES = ("tiny", "small", "full")
"""Sizes of an experiment: seconds, for tests; minutes; the size that results are reported at."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Something to measure, and how to show it.

    Attributes:
      title: heading of the table.
      run: `(scale, folder, note_fn) -> rows`. Parts that are already in `folder` are not run again; `note_fn`
        takes lines about progress.
      table: rows to Markdown.
      draw: `(rows, folder) -> paths` of the PNG files it wrote.
    """

    title: str
    run: Callable[[str, Path, Callable[[str], None]], list[Row]]
    table: Callable[[Rows], str]
    draw: Callable[[Rows, Path], list[Path]]
