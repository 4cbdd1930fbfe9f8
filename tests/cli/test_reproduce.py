"""`distill-rl reproduce`, from the command to the files."""

import dataclasses
import json
import types

import numpy as np
import pytest
from typer.testing import CliRunner

from actors.operators.planners import MPPI
from actors.operators.registry import OPERATORS
from distill_rl.cli.experiments.learning_curves import curve_specs
from distill_rl.cli.experiments.planning import planning_specs
from distill_rl.cli.experiments.planning_run import Decider, run_planning
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


def test_planning_tiny(tmp_path):
    """Every operator on two tasks: rows, the share of the best, and a picture; nothing is run twice."""
    out, lines = tmp_path / "planning", []
    result = CliRunner().invoke(app, ["reproduce", "planning", "--scale", "tiny", "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "results.json").read_text())
    assert {row["operator"] for row in rows} == set(OPERATORS) - {"critic"}
    assert {row["task"] for row in rows} == {"pendulum-swingup", "reacher-easy"}
    for row in rows:
        assert np.isfinite(row["episode_return"]) and row["cpu_ms_per_decision"] > 0.0
        # What is simulated is the budget: rollouts over the horizon, up to a round that is never smaller.
        horizon = {"pendulum-swingup": 60, "reacher-easy": 40}[row["task"]]
        budget = row["num_rollouts"] * horizon if row["operator"] != "policy" else 0
        assert budget <= row["simulator_steps_per_decision"] <= 1.6 * budget
    assert "mean share of the best" in (out / "table.md").read_text()
    assert (out / "planning.png").stat().st_size > 10_000
    reproduce("planning", "tiny", out, lines.append)
    assert all("already there" in line for line in lines)


def test_a_planner_carries_its_plan_over():
    """Each decision starts from the last plan, one step further; a seed gives the same episode again."""
    spec = planning_specs("tiny")["reacher-easy_mppi_8"]
    first, second = (run_planning(dataclasses.replace(spec, num_steps=5)) for _ in range(2))
    assert first[0]["episode_return"] == second[0]["episode_return"]
    decider = Decider(_Shifting(), None, 1)
    found = [
        decider.act(np.zeros((1, 1)), np.zeros((1, 1)), np.random.default_rng(0))[0, 0] for _ in range(3)
    ]
    np.testing.assert_allclose(found, [0.1, 0.3, 0.5])  # one more each time, and one step further


class _Shifting(MPPI):
    """Adds 0.1 to every action of a plan of steps 0.0, 0.1, 0.2, ..."""

    def __init__(self):
        self.horizon_steps = 4
        self.simulator = types.SimpleNamespace(action_size=1)

    def plan(self, state, nominal, policy, generator):
        start = 0.1 * np.arange(4)[None, :, None] if not nominal.any() else nominal
        return types.SimpleNamespace(mean_plan=start + 0.1)
