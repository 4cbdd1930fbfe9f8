"""Every benchmark runs, at the smallest size, and writes rows that can be true. No time is asserted on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / "benchmarks"
_COMMANDS = {
    "search_vs_mctx": "--num-roots 2 --num-simulations 4 --num-repeats 1 --min-sec 0.01",
    "search_throughput": "--tasks cheetah_run --num-states 2 --num-repeats 1 --min-sec 0.01",
    "actor_scaling": "--num-env-runners 1 --num-repeats 1 --window-sec 0.1 --num-envs 2 --num-candidates 2",
    "objective_step": "--methods CT endpoint --num-instances 1 --batch-size 4 --num-repeats 1 --min-sec 0.01",
    "offline_step": "--num-transitions 500 --num-batches 2 --num-repeats 1 --min-sec 0.01",
    "redis_edge": "--num-repeats 1 --window-sec 0.2 --num-subscribers 1 --num-publications 3 --policy-kb 8",
    "broadcast": "--kilobytes 10 --num-actors 2 --num-publications 3 --num-repeats 1",
    "scaling_times": "--operators root_bandit --num-env-runners 1 --window-sec 0.5 --num-fragments 1 "
    "--num-updates 2 --num-calls 16",
    "scaling_model": "--num-actors 1 4 --num-periods 1",
    "table1_length": "--losses original importance --num-instances 2 --num-seeds 1 --num-updates 2 "
    "--num-evaluations 1",
    "learner_step": "--batch-size 4 --num-candidates 3 --num-repeats 1 --min-sec 0.01",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Runs a benchmark once and returns its rows."""
    folder = tmp_path_factory.mktemp("benchmarks")
    results = {}

    def rows_fn(name):
        if name not in results:
            path = folder / f"{name}.json"
            command = [sys.executable, str(_FOLDER / f"{name}.py"), *_COMMANDS[name].split()]
            done = subprocess.run(
                [*command, "--json", str(path)], capture_output=True, text=True, env=dict(os.environ)
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("| ") and "machine: " in done.stdout
            results[name] = json.loads(path.read_text())
        return results[name]

    return rows_fn


def test_every_benchmark_is_run_here():
    """A new one needs a line above."""
    scripts = {path.stem for path in _FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert scripts == set(_COMMANDS)


@pytest.mark.parametrize("name", ["search_throughput", "learner_step"])
def test_rows_tell_where_they_come_from(rows, name):
    """Machine, load and command stand beside every number."""
    for row in rows(name):
        assert row["machine"] and row["load"] >= 0.0
        assert row["command"].startswith("python ") and name in row["command"]


def test_search_throughput_compares_both_policies_and_settings(rows):
    """The shares of time are of one whole, and both sides count the same steps."""
    measured = rows("search_throughput")
    assert [(row["settings"], row["policy"]) for row in measured] == [
        (settings, policy)
        for settings in ("root bandit, default", "tree", "root bandit, preset")
        for policy in ("trivial", "networks")
    ]
    for row in measured:
        shares = [row[f"{part}_share"] for part in ("simulator", "policy", "search")]
        assert sum(shares) == pytest.approx(1.0) and min(shares) >= 0.0
        assert row["simulator_share"] > 0.1  # every step is seen
        share = row["steps_per_cpu_sec"][0] / row["ceiling_steps_per_cpu_sec"][0]
        assert share == pytest.approx(row["share_of_ceiling"][0])


def test_learner_step_and_its_plain_loop_are_the_same_mathematics(rows):
    """Otherwise the ratio would say nothing."""
    (row,) = rows("learner_step")
    assert row["loss_difference"] < 1e-4


def test_redis_edge_measures_stream_and_publication(rows):
    """With and without a log on the disk; nothing went missing, or the benchmark would have failed."""
    measured = rows("redis_edge")
    assert [row["persistence"] for row in measured] == ["none", "none", "flushed", "flushed"]
    for stream, policy in (measured[:2], measured[2:]):
        assert stream["megabytes_per_sec"][0] > 0.0
        parts = ("producer", "server", "consumer")
        assert all(stream[f"{part}_cpu_sec_per_gb"][0] > 0.0 for part in parts)
        assert 0.0 < policy["median_ms"][0] <= policy["p95_ms"][0]


@pytest.mark.ray
def test_broadcast_measures_both_ways(rows):
    """Through the store and by calls."""
    measured = rows("broadcast")
    assert [row["way"] for row in measured] == ["store", "call"]
    assert all(0.0 < row["median_ms"][0] <= row["p95_ms"][0] for row in measured)


def test_scaling_model_checks_itself_and_draws_on(rows):
    """Real runs stand beside the model, and every operator has a curve."""
    drawn = rows("scaling_model")
    assert [row["num_actors"] for row in drawn["check"]] == [1, 2, 4]
    operators = {row["operator"] for row in drawn["ratio"]}
    assert operators == {row["operator"] for row in drawn["curve"]}
    assert all(row["sets_per_sec"] > 0.0 for row in drawn["curve"])


@pytest.mark.slow
@pytest.mark.ray
def test_scaling_times_measures_what_the_model_reads(rows, tmp_path):
    """The model runs on what was measured here."""
    measured = rows("scaling_times")
    assert [run["num_env_runners"] for run in measured["runs"]] == [1]
    path = tmp_path / "times.json"
    path.write_text(json.dumps(measured))
    command = [sys.executable, str(_FOLDER / "scaling_model.py"), "--times", str(path), "--num-actors", "1"]
    assert subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.ray
def test_actor_scaling_counts_sets_and_drops_none(rows):
    """One runner against itself is once as fast."""
    (row,) = rows("actor_scaling")
    assert row["reference_sets_per_sec"][0] > 0.0
    assert row["speedup"] == [1.0, 1.0, 1.0]
    assert row["num_dropped"] == 0
