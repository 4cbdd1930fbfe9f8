"""Jobs in processes of their own, and what is kept of them."""

import pytest

from distill_rl.cli.experiments.jobs import in_subprocess, run_jobs
from distill_rl.cli.failure import TrainingError

_JOB = """
import json, sys
from pathlib import Path
from distill_rl.cli.experiments.jobs import save_result
spec = json.loads(Path(sys.argv[1]).read_text())
with open(spec["log"], "a") as file:
    file.write(spec["name"])
print("working on", spec["name"])
if spec["name"] == "bad":
    sys.exit("no luck")
if spec["name"] != "silent":
    save_result(Path(sys.argv[2]), spec, [{"value": spec["value"]}])
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs jobs by name and value; returns rows and the names of the jobs that were really run."""
    (tmp_path / "toy_job.py").write_text(_JOB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = tmp_path / "log"

    def run_fn(**values):
        log.write_text("")
        specs = {n: {"name": n, "value": v, "log": str(log), "sizes": (1, 2)} for n, v in values.items()}
        rows = run_jobs(in_subprocess("toy_job"), specs, tmp_path / "runs", lambda line: None)
        return rows, log.read_text()

    return run_fn


def test_rows_come_in_the_order_of_the_jobs(run):
    """Each job adds its own."""
    assert run(a=1, b=2) == ([{"value": 1}, {"value": 2}], "ab")


def test_finished_jobs_are_kept_and_changed_ones_run_again(run):
    """A result counts only for the specification it came from."""
    run(a=1, b=2)
    assert run(a=1, b=3, c=4) == ([{"value": 1}, {"value": 3}, {"value": 4}], "bc")


def test_a_failure_names_the_job_its_log_and_the_last_words(run, tmp_path):
    """What was finished before stays finished."""
    with pytest.raises(TrainingError, match="job bad failed with status 1") as raised:
        run(a=1, bad=2)
    log_path = tmp_path / "runs" / "bad" / "log.txt"
    assert str(log_path) in str(raised.value)
    assert "no luck" in str(raised.value)
    assert "working on bad" in log_path.read_text()
    assert run(a=1) == ([{"value": 1}], "")


def test_a_job_that_writes_nothing_has_failed(run):
    """Even if it says otherwise."""
    with pytest.raises(TrainingError, match="job silent failed with status 0"):
        run(silent=1)
