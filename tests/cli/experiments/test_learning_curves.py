"""Learning curves beside other libraries, from the command to the figure."""

import json

from typer.testing import CliRunner

from distill_rl.cli.experiments.learning_curves import curve_specs
from distill_rl.cli.main import app
from distill_rl.cli.reproduce import reproduce


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
