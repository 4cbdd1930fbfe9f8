"""What the benchmarks share: interleaved timing, spreads of ratios, rows and tables.

Everything is compared as a ratio of two things measured by turns in one process, in cpu-seconds of its one
working thread, since other programs on the machine disturb both alike.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill_rl.cli.machine import describe_machine
from distill_rl.storage import atomic


class Spread(NamedTuple):
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns `median (low to high)` with three digits."""
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def spread(values: np.ndarray) -> Spread:
    """Returns the median and the quartiles of repeated measurements. Shape `[num_repeats]`."""
    return Spread(*(float(q) for q in np.quantile(values, [0.5, 0.25, 0.75])))


def interleave(
    functions: Mapping[str, Callable[[], Any]],
    num_repeats: int,
    min_sec: float,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, np.ndarray]:
    """Times functions by turns: A B, B A, A B, ...

    Args:
      functions: what to time, by name; each is called once before, to warm up.
      num_repeats: turns of each.
      min_sec: each turn calls its function until so many seconds have passed, at least once.
      clock: seconds; by default cpu-seconds of this process.

    Returns:
      Seconds of one call in each turn, by name. Shape `[num_repeats]`.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(num_repeats):
        names = list(functions)
        for name in names if repeat % 2 == 0 else reversed(names):
            seconds[name].append(_time_once(functions[name], min_sec, clock))
    return {name: np.array(values) for name, values in seconds.items()}


def parse_arguments(description: str | None, **defaults: Any) -> argparse.Namespace:
    """Reads the command line of a benchmark: `--json FILE`, and one option for each default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    for name, default in defaults.items():
        is_list = isinstance(default, (list, tuple))
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=default,
            type=type(default[0]) if is_list else type(default),
            nargs="+" if is_list else None,
            help=f"default: {default}",
        )
    return parser.parse_args()


def report(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    path: Path | None,
    legend: str = "median (quartiles) of interleaved repeats",
) -> None:
    """Prints rows as a Markdown table with their provenance, and writes them as JSON.

    Args:
      rows: measurements.
      columns: headings of the columns to print, by name of the field.
      path: file for the list of rows, each with machine, load and command; None for none.
      legend: what the cells are.
    """
    provenance = {
        "machine": describe_machine(),
        "load": round(os.getloadavg()[0], 1),
        "command": shlex.join(["python", *sys.argv]),
    }
    print(f"| {' | '.join(columns.values())} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(_show(row[name]) for name in columns)} |")
    print(f"\n{legend}")
    for name, value in provenance.items():
        print(f"{name}: {value}")
    if path is not None:
        atomic.write_text(path, json.dumps([{**row, **provenance} for row in rows], indent=1) + "\n")


def _time_once(function: Callable[[], Any], min_sec: float, clock: Callable[[], float]) -> float:
    num_calls, start = 0, clock()
    while num_calls == 0 or clock() - start < min_sec:
        function()
        num_calls += 1
    return (clock() - start) / num_calls


def _show(value: Any) -> str:
    if isinstance(value, Spread):
        return str(value)
    return f"{value:,.3g}" if isinstance(value, float) else str(value)
