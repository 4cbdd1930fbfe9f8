"""The operators alone, from the command to the picture."""

import dataclasses
import json

import numpy as np
from typer.testing import CliRunner

from actors.operators.registry import OPERATORS
from distill_rl.cli.experiments.planning import planning_specs
from distill_rl.cli.experiments.planning_run import run_planning
from distill_rl.cli.main import app
from distill_rl.cli.reproduce import reproduce


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


def test_an_episode_repeats_itself_for_a_seed():
    """Resets and draws come from it."""
    spec = planning_specs("tiny")["reacher-easy_mppi_8"]
    first, second = (run_planning(dataclasses.replace(spec, num_steps=5)) for _ in range(2))
    assert first[0]["episode_return"] == second[0]["episode_return"]
