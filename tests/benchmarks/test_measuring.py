"""How benchmarks measure."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

_PATH = Path(__file__).parents[2] / "benchmarks" / "measuring.py"


@pytest.fixture(scope="module")
def measuring():
    """The module, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("measuring", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Work:
    """Functions that take known time on a clock of their own."""

    def __init__(self, **seconds):
        self.now = 0.0
        self.calls = []
        self.functions = {name: self._make(name, sec) for name, sec in seconds.items()}

    def _make(self, name, seconds):
        def function():
            self.now += seconds
            self.calls.append(name)

        return function


def test_turns_alternate_so_that_a_drift_hits_both_alike(measuring):
    """After one call of each to warm up: A B, B A, A B."""
    work = _Work(a=1.0, b=2.0)
    seconds = measuring.interleave(work.functions, 3, 0.5, lambda: work.now)
    assert "".join(work.calls) == "ab" + "ab" + "ba" + "ab"
    assert seconds["a"].tolist() == [1.0, 1.0, 1.0]
    assert seconds["b"].tolist() == [2.0, 2.0, 2.0]


def test_turns_repeat_short_functions_until_they_can_be_timed(measuring):
    """The result is still seconds of one call."""
    work = _Work(a=0.25)
    seconds = measuring.interleave(work.functions, 1, 1.0, lambda: work.now)
    assert len(work.calls) == 1 + 4
    assert seconds["a"].tolist() == [0.25]


def test_spread_is_the_median_with_quartiles(measuring):
    """One outlier moves none of them much."""
    assert measuring.spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == (3.0, 2.0, 4.0)
    assert str(measuring.spread(np.array([2.0, 2.0]))) == "2 (2 to 2)"


def test_report_prints_a_table_and_writes_rows(measuring, tmp_path, capsys, monkeypatch):
    """Only the named columns are printed; the file has all, and the command."""
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", "--json", "a file"])
    rows = [{"a": measuring.Spread(2.0, 1.0, 3.0), "b": 1234.5, "c": 7}]
    measuring.report(rows, {"a": "first", "b": "second"}, tmp_path / "rows.json")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["| first | second |", "| --- | --- |", "| 2 (1 to 3) | 1.23e+03 |"]
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["a"] == [2.0, 1.0, 3.0] and row["c"] == 7
    assert row["command"] == "python benchmarks/x.py --json 'a file'"
