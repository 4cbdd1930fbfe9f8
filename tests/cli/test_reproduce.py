"""`distill-rl reproduce`, whatever the experiment."""

import json

import pytest
from typer.testing import CliRunner

from distill_rl.cli import reproduce as module
from distill_rl.cli.experiments.base import Experiment
from distill_rl.cli.main import app
from distill_rl.cli.reproduce import reproduce


@pytest.fixture
def toy(monkeypatch):
    """An experiment that measures its scale, and notes how often it runs."""
    calls = []

    def run(scale, folder, note_fn):
        calls.append((scale, folder))
        return [{"value": len(scale), "machine": "this one"}]

    def draw(rows, folder):
        path = folder / "toy.png"
        path.write_bytes(b"")
        return [path]

    experiment = Experiment("A toy", run, lambda rows: f"value {rows[0]['value']}", draw)
    monkeypatch.setitem(module.EXPERIMENTS, "toy", experiment)
    return calls


def test_rows_table_and_figures_are_written(toy, tmp_path):
    """The table says by which command, and where."""
    paths = reproduce("toy", "tiny", tmp_path / "out")
    assert [path.name for path in paths] == ["results.json", "table.md", "toy.png"]
    assert json.loads(paths[0].read_text()) == [{"value": 4, "machine": "this one"}]
    table = paths[1].read_text()
    assert table.startswith("# A toy\n\nvalue 4\n\nCommand: `distill-rl reproduce toy --scale tiny --out ")
    assert table.endswith("Machine: this one.\n")
    assert toy == [("tiny", tmp_path / "out" / "runs")]


def test_results_of_another_scale_are_not_replaced(toy, tmp_path):
    """Their runs have the same names; the same scale goes on."""
    reproduce("toy", "full", tmp_path)
    with pytest.raises(ValueError, match=r"another folder for toy --scale tiny: .* holds toy --scale full"):
        reproduce("toy", "tiny", tmp_path)
    assert "--scale full" in (tmp_path / "table.md").read_text() and len(toy) == 1
    reproduce("toy", "full", tmp_path)
    assert len(toy) == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["learning_curve"], "did you mean 'learning_curves'?"),
        (["learning_curves", "--scale", "tinny"], "did you mean 'tiny'?"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(tmp_path, command, message):
    """A mistake is one line, and leaves nothing behind."""
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["reproduce", *command, "--out", str(out)])
    assert result.exit_code == 2
    assert message in result.output
    assert not out.exists()
