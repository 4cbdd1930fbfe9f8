"""`distill-rl reproduce`, from the command to the files."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from distill_rl.cli.experiments.learning_curves import curve_specs
from distill_rl.cli.experiments.table1 import table1_specs
from distill_rl.cli.main import app
from distill_rl.cli.reproduce import reproduce
from learners.config import DistillationConfig
from learners.laboratory.experiment import Experiment as ReferenceExperiment
from learners.laboratory.methods import METHODS


def test_learning_curves_tiny(tmp_path):
    """Every method is measured; a second call finds everything there and writes the same."""
    out = tmp_path / "curves"
    command = ["reproduce", "learning_curves", "--scale", "tiny", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "results.json").read_text())
    measured = {(row["method"], row["policy"], row["seed"]) for row in rows}
    assert measured == {
        ("distill", "student", 10),
        ("distill", "search", 10),
        ("sac", "policy", 10),
        ("ppo", "policy", 10),
    }
    for method, policy, _ in measured:
        own = [row for row in rows if (row["method"], row["policy"]) == (method, policy)]
        assert own[0]["wall_sec"] == 0.0 and own[0]["env_steps"] == 0
        assert own[-1]["wall_sec"] >= 0.4 and own[-1]["env_steps"] > 0
        assert all(row["machine"] for row in own)
    table = (out / "table.md").read_text()
    assert all(label in table for label in ("student", "search", "RLlib SAC", "RLlib PPO"))
    assert "distill-rl reproduce learning_curves --scale tiny" in table
    assert (out / "learning_curves.png").read_bytes().startswith(b"\x89PNG")

    lines = []
    reproduce("learning_curves", "tiny", out, lines.append)
    assert all(line.endswith("already there") for line in lines) and len(lines) == 3
    assert json.loads((out / "results.json").read_text()) == rows


def test_full_scale_is_three_seeds_of_fifteen_minutes_on_two_cores():
    """All methods get the same time, cores, environment and action repeat."""
    specs = list(curve_specs("full").values())
    assert len(specs) == 9
    assert {(s.method, s.seed) for s in specs} == {
        (m, s) for m in ("distill", "sac", "ppo") for s in (10, 11, 12)
    }
    assert {(s.time_limit_sec, s.num_cores, s.env, s.action_repeat) for s in specs} == {
        (900.0, 2, "dm_control/cheetah-run-v0", 4)
    }


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


def test_table1_tiny(tmp_path):
    """Every part is measured and shown: the paper's rows with their ratios, samples, estimators, figures."""
    out = tmp_path / "table1"
    result = CliRunner().invoke(app, ["reproduce", "table1", "--scale", "tiny", "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "results.json").read_text())
    trained = {(r["data"], r["method"]) for r in rows if "method" in r}
    methods = {"original", "importance", "CT", "endpoint"}
    assert trained == {(d, m) for d in ("fixed", "fresh") for m in methods} | {
        ("conditioned", "CT"),
        ("conditioned", "endpoint"),
    }
    for row in rows:
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert numbers and np.isfinite(numbers).all()
    table = (out / "table.md").read_text()
    assert "Importance over original: LogP MSE" in table and "(paper 0.874)" in table
    assert "| exact samples |" in table and "| defensive_mixture | 256 |" in table
    for name in ("figure1", "figure2", "estimators", "one_step"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    lines = []
    reproduce("table1", "tiny", out, lines.append)
    assert len(lines) == 16 and all(line.endswith("already there") for line in lines)
    assert json.loads((out / "results.json").read_text()) == rows


def test_table1_full_is_the_papers_size():
    """Five instances, five seeds, 1e5 updates of 64, sets of 16, learning rate 1e-4, ten noise levels."""
    specs = table1_specs("full")
    trained = [spec for spec in specs.values() if spec["kind"] == "loss"]
    assert {spec["method"] for spec in trained} == set(METHODS)
    assert {spec["num_updates"] for spec in trained} == {100_000}
    for spec in trained:
        experiment = ReferenceExperiment(**spec["experiment"])
        config = DistillationConfig(**spec["distillation"], num_noises=2)
        assert (experiment.num_instances, experiment.num_seeds) == (5, 5)
        assert (experiment.num_candidates, experiment.batch_size) == (16, 64)
        assert (config.sigma_min, config.sigma_max, config.num_noise_levels) == (0.002, 80.0, 10)
        assert config.learning_rate == 1e-4
