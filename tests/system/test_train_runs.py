"""Whole runs through the driver: what is left behind, and how a run goes on."""

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from distill_rl.cli import training
from distill_rl.cli.failure import TrainingError
from distill_rl.cli.presets import read_sections
from distill_rl.cli.training import run_training
from distill_rl.policies.loading import load_policy
from distill_rl.storage.checkpoints import CheckpointError, CheckpointStore, find_problems
from distill_rl.storage.metrics import read_metrics
from distill_rl.storage.run_folder import RunFolder

pytestmark = pytest.mark.ray

_SUMMARY = [
    "student_return",
    "search_return",
    "untrained_return",
    "env_steps",
    "simulator_steps",
    "updates",
    "wall_seconds",
    "policy_lag_mean",
    "dropped",
]


def _sections(max_env_steps, **run):
    return {
        "environment": {"env": "dm_control/cartpole-balance-v0", "env_config": {"action_repeat": 20}},
        "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 2, "rollout_fragment_length": 8},
        "search": {
            "num_candidates": 4,
            "num_perturbed": 2,
            "ascent_steps": [0.5],
            "horizon_steps": 2,
            "hold_steps": 1,
        },
        "distillation": {"hidden_sizes": [16], "batch_size": 16},
        "loop": {"learning_starts": 32, "updates_per_step": 0.25, "updates_per_call": 4},
        "reporting": {"min_time_s_per_iteration": 0, "min_sample_timesteps_per_iteration": 64},
        "debugging": {"seed": 0},
        "run": {"max_env_steps": max_env_steps, "num_evaluation_episodes": 1, **run},
    }


def _train(folder, max_env_steps, resume=False, **run):
    output = io.StringIO()
    console = Console(file=output, width=200)
    outcome = run_training(_sections(max_env_steps, **run), folder, resume=resume, console=console)
    return outcome, output.getvalue()


@pytest.fixture(scope="module")
def finished(ray_cluster, tmp_path_factory):
    """A run of 256 environment steps; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    outcome, output = _train(folder, 256)
    return RunFolder(folder), outcome, output


def test_a_run_leaves_everything_behind(finished):
    """Configuration, metrics, events, checkpoints, figures, report and summary."""
    run, outcome, output = finished
    assert read_sections(run.config_path) == _sections(256)
    rows = read_metrics(run.metrics_path)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["env_steps"] == 256
    assert rows[-1]["updates"] == (256 - 32) * 0.25
    assert {"learner/policy_loss", "search_kl", "policy_lag_mean", "elapsed_sec"} <= rows[-1].keys()
    assert list(run.tensorboard_folder.glob("events.*"))
    assert find_problems(CheckpointStore(run.checkpoints_folder).latest()) == []
    assert {path.stem for path in run.plots_folder.glob("*.png")} >= {"return_time", "throughput", "losses"}
    assert run.report_path.stat().st_size > 10_000
    assert json.loads(run.summary_path.read_text()) == outcome.summary
    assert "distill-rl train --resume --out" in output


def test_summary_has_the_agreed_fields_with_numbers(finished):
    """None of them is missing or unknown after a whole run."""
    _, outcome, _ = finished
    assert set(_SUMMARY) <= outcome.summary.keys()
    assert all(np.isfinite(outcome.summary[name]) for name in _SUMMARY)
    assert outcome.summary["env_steps"] == 256
    assert outcome.summary["simulator_steps"] > 256


def test_the_policy_of_a_run_acts_without_rllib(finished):
    """`load_policy` finds it from the run folder, and it knows its environment."""
    run, _, _ = finished
    policy = load_policy(run.path)
    assert policy.act(np.zeros((3, 5), np.float32)).shape == (3, 1)
    assert policy.metadata["env"] == "dm_control/cartpole-balance-v0"
    assert policy.metadata["action_repeat"] == 20


def test_a_resumed_run_goes_on_where_it_stopped(ray_cluster, tmp_path):
    """Counters, time, metrics and the untrained return continue; nothing is counted twice."""
    first, _ = _train(tmp_path, 128)
    second, output = _train(tmp_path, 256, resume=True)
    rows = read_metrics(RunFolder(tmp_path).metrics_path)
    assert re.search(r"resumed from checkpoint_00000002: \d+ updates, 128 environment steps", output)
    assert [row["env_steps"] for row in rows] == [64, 128, 192, 256]
    assert second.summary["updates"] == (256 - 32) * 0.25
    assert second.summary["wall_seconds"] > first.summary["wall_seconds"]
    assert second.summary["untrained_return"] == first.summary["untrained_return"]
    elapsed = [row["elapsed_sec"] for row in rows]
    assert elapsed == sorted(elapsed)


def test_a_run_that_cannot_be_restored_says_why(ray_cluster, tmp_path):
    """With other networks than those of the checkpoint: in one line, with a log; what is there stays."""
    _train(tmp_path, 64)
    sections = _sections(128)
    sections["distillation"]["hidden_sizes"] = [8]
    with pytest.raises(TrainingError, match=r"failed: RuntimeError: .*\nfull trace: .*failure\.log"):
        run_training(sections, tmp_path, resume=True, console=Console(file=io.StringIO()))
    assert RunFolder(tmp_path).read_summary()["env_steps"] == 64


def test_a_run_that_goes_on_has_no_summary(ray_cluster, tmp_path, monkeypatch):
    """Until it ends again: that of its first end would pass for the newest."""
    _train(tmp_path, 64)
    monkeypatch.setattr(training, "conclude", lambda *args: RunFolder(tmp_path).read_summary())
    outcome, _ = _train(tmp_path, 128, resume=True)
    assert outcome.summary == {}


def test_the_student_is_evaluated_after_each_checkpoint(ray_cluster, tmp_path):
    """The learning curve has a point for each, none in between; zero episodes leave it out."""
    _train(tmp_path / "with", 128, checkpoint_interval_sec=1e-6, num_progress_episodes=1)
    rows = read_metrics(RunFolder(tmp_path / "with").metrics_path)
    assert all(0.0 <= row["evaluation/student_return"] <= 1000.0 for row in rows)
    _train(tmp_path / "without", 64, checkpoint_interval_sec=1e-6, num_progress_episodes=0)
    rows = read_metrics(RunFolder(tmp_path / "without").metrics_path)
    assert all("evaluation/student_return" not in row for row in rows)


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(ray_cluster, tmp_path, caplog):
    """One flipped byte: resuming warns and goes on from the previous checkpoint."""
    _train(tmp_path, 128, checkpoint_interval_sec=1e-6, num_evaluation_episodes=0)
    store = CheckpointStore(RunFolder(tmp_path).checkpoints_folder)
    weights = store.latest() / "policy" / "policy.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    _, output = _train(tmp_path, 192, resume=True, num_evaluation_episodes=0)
    assert "checkpoint_00000002 is corrupted" in caplog.text
    assert re.search(r"resumed from checkpoint_00000001: \d+ updates, 64 environment steps", output)
    rows = read_metrics(RunFolder(tmp_path).metrics_path)
    assert [row["env_steps"] for row in rows] == [64, 128, 192]


def test_a_full_disk_costs_a_warning_not_the_run(ray_cluster, tmp_path, monkeypatch):
    """Every save but the first fails: training ends as if nothing had happened, without junk."""
    save_acting_policy, num_saves = training.save_acting_policy, iter(range(100))

    def save(*args):
        if next(num_saves) > 0:
            raise OSError(28, "No space left on device")
        return save_acting_policy(*args)

    monkeypatch.setattr(training, "save_acting_policy", save)
    outcome, output = _train(tmp_path, 128, checkpoint_interval_sec=1e-6)
    assert outcome.summary["env_steps"] == 128
    assert (
        "checkpoint_00000001 not saved: OSError: [Errno 28] No space left on device; training goes on"
        in output
    )
    names = sorted(path.name for path in RunFolder(tmp_path).checkpoints_folder.iterdir())
    assert names == ["checkpoint_00000000", "latest"]


def test_a_mistake_is_told_before_the_folder_is_touched(tmp_path):
    """Neither a folder nor Ray."""
    sections = _sections(64) | {"serach": {}}
    with pytest.raises(ValueError, match="did you mean 'search'"):
        run_training(sections, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resuming_needs_a_good_checkpoint(tmp_path):
    """Without one there is nothing to go on from."""
    run = RunFolder(tmp_path / "run")
    run.create()
    run.write_config("{}")
    with pytest.raises(CheckpointError, match="no good checkpoint to resume from; use --overwrite"):
        run_training(_sections(64), run.path, resume=True)
