"""Samplers beside each other, on a network of a few channels."""

import json

from distill_rl.cli.experiments.sampler_timing import STUDENT, TEACHER
from distill_rl.cli.reproduce import reproduce


def test_every_sampler_is_timed_and_its_evaluations_counted(tmp_path):
    paths = reproduce("sampler_timing", "tiny", tmp_path, lambda note: None)
    rows = {row["sampler"]: row for row in json.loads(paths[0].read_text())}
    evaluations = {name: row["num_evaluations"] for name, row in rows.items()}
    assert evaluations == {
        TEACHER: 159,
        "EDM Euler, 80 levels": 80,
        "DDPM, 15 steps": 15,
        "DDIM, 15 steps": 15,
        "DPM-Solver++, 15 steps": 15,
        STUDENT: 1,
        "student, 2 jumps": 2,
        "student, 3 jumps": 3,
        "student, 4 jumps": 4,
        "Diffuser, 20 guided steps": 20,
    }
    assert rows[TEACHER]["speed_up"] == [1.0]
    seconds = {name: row["action_sec"][0] for name, row in rows.items()}
    assert rows[STUDENT]["speed_up"] == [seconds[TEACHER] / seconds[STUDENT]]
    assert "student, 1 jump | 1 |" in paths[1].read_text()
    assert paths[2].stat().st_size > 5_000
