"""The experiment of mazes, on networks of a few channels."""

import json

import pytest

from distill_rl.cli.experiments.maze2d import maze_specs
from distill_rl.cli.experiments.maze2d_results import MPPI
from distill_rl.cli.experiments.maze2d_run import DIFFUSER, TEACHER
from distill_rl.cli.reproduce import reproduce
from learners.trajectory.plan_config import PlanConfig


def test_every_way_to_plan_is_judged_and_timed(tmp_path):
    paths = reproduce("maze2d", "tiny", tmp_path, lambda note: None)
    rows = {row["method"]: row for row in json.loads(paths[0].read_text())}
    evaluations = {
        name: (row["num_evaluations"], row["num_guide_evaluations"])
        for name, row in rows.items()
        if name != MPPI
    }
    jumps = {"1 jump": 1, "2 jumps": 2, "3 jumps": 3, "4 jumps": 4}
    assert evaluations == {
        DIFFUSER: (4, 3),  # the last step is exact
        "Diffuser without guide": (4, 0),
        TEACHER: (11, 0),
        "DDPM, 100 steps": (100, 0),
        "DDIM, 10 steps": (10, 0),
        "DDIM, 1 step": (1, 0),
        **{f"{name}, {label}": (count, 0) for name in ("CTD", "RACTD") for label, count in jumps.items()},
    }
    for row in rows.values():
        assert 0.0 <= row["success_rate"] <= 1.0 and min(row["plan_sec"]) > 0.0
    assert rows[DIFFUSER]["speed_up"] == [1.0]
    assert rows["RACTD, 1 jump"]["plan_sec"][0] < rows["DDPM, 100 steps"]["plan_sec"][0]
    assert "| RACTD, 1 jump | 1 | 1 |" in paths[1].read_text()
    assert all(path.stat().st_size > 5_000 for path in paths[2:])
    # What is finished stays; what was interrupted goes on from the stages that are.
    finished = tmp_path / "runs" / "umaze_0"
    (finished / "result.json").unlink()
    (finished / "stages" / "RACTD" / "stage.json").unlink()
    notes = []
    reproduce("maze2d", "tiny", tmp_path, notes.append)
    assert [note.strip() for note in notes if "already there" in note] == [
        *(
            f"{stage}: already there"
            for stage in ("inverse dynamics", "teacher", "guide", "reward model", "CTD")
        ),
        "[2/2] umaze_mppi: already there",
    ]
    repeated = {row["method"]: row for row in json.loads(paths[0].read_text())}
    assert all(repeated[name]["scores"] == row["scores"] for name, row in rows.items())
    assert all(repeated[name]["examples"] == row["examples"] for name, row in rows.items())


@pytest.mark.parametrize("scale", ["tiny", "small", "full"])
def test_settings_of_every_scale_are_valid(scale):
    """Horizons are the published ones; every network's levels divide them."""
    horizons = {"umaze": 128, "medium": 256, "large": 384}
    for spec in maze_specs(scale).values():
        if "plan" in spec:
            plan = PlanConfig(**spec["plan"])
            assert plan.num_steps * plan.stride == horizons[spec["layout"]]
