"""The command `distill-rl` as a process: mistakes, signals, a killed driver."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from distill_rl.cli.main import app
from distill_rl.storage import atomic
from distill_rl.storage.metrics import read_metrics

_TINY = [
    "environment.env_config.action_repeat=20",
    "env_runners.num_env_runners=0",
    "env_runners.num_envs_per_env_runner=2",
    "search.num_candidates=4",
    "search.num_perturbed=2",
    "search.ascent_steps=[0.5]",
    "search.horizon_steps=2",
    "search.hold_steps=1",
    "distillation.hidden_sizes=[16]",
    "distillation.batch_size=16",
    "loop.learning_starts=32",
    "reporting.min_time_s_per_iteration=0.2",
    "run.num_evaluation_episodes=1",
]


def _command(*arguments):
    return [sys.executable, "-m", "distill_rl.cli.main", *map(str, arguments)]


def _run(*arguments):
    return subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=300)


def _start(out):
    command = _command("train", "cartpole_balance", *_TINY, "--out", out, "--time-limit", "10m")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 240
    while len(read_metrics(out / "metrics.jsonl")) < 3:
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.2)
    return process


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train cheetah_rum", "did you mean 'cheetah_run'"),
        ("train cheetah_run search.num_candidate=3", "did you mean 'num_candidates'"),
        ("train cheetah_run serach.num_candidates=3", "did you mean 'search'"),
        ("train cheetah_run search.num_candidates=many", "`search.num_candidates` must be int"),
        ("train cheetah_run environment.env=dm_control/cheetah-rum-v0", "cheetah-run"),
        ("train cheetah_run --time-limit soon", "must be a positive duration"),
        ("train --resume --out nowhere", "must be a run folder"),
        ("train demo --resume-or-start --overwrite", "decides for itself what to do; got --overwrite too"),
        ("evaluate nowhere", "must hold a policy"),
        ("report nowhere", "must be a run folder"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    """No trace, nothing written."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, shlex.split(arguments))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["presets"], ["train", "cheetah_rum"], ["train", "--size", "x", "demo"]]
)
def test_what_needs_no_ray_does_not_wait_for_it(arguments):
    """Importing it, torch and RLlib takes seconds."""
    program = (
        "import sys; from typer.testing import CliRunner; from distill_rl.cli.main import app\n"
        f"CliRunner().invoke(app, {arguments!r})\n"
        "sys.exit(not {'ray', 'torch'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=300).returncode == 0


@pytest.mark.parametrize("more", ["", "--restarts 3"])
def test_a_folder_that_cannot_be_made_gives_one_line(tmp_path, more):
    """Also under a supervisor, which tries no second time."""
    (tmp_path / "file").touch()
    result = _run("train", "cartpole_balance", "--out", tmp_path / "file" / "run", *more.split())
    assert result.returncode == 2
    assert "must be a folder that can be made: [Errno 20] Not a directory" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_disk_that_is_full_from_the_start_gives_one_line(tmp_path, monkeypatch):
    """Before there is a run to speak of."""

    def refuse(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "write_text", refuse)
    result = CliRunner().invoke(app, ["train", "cartpole_balance", "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"error: `{tmp_path / 'run'}` cannot be written to: [Errno 28] No space left on device\n"
    )


def test_presets_lists_them_with_their_environments():
    """One line each."""
    result = CliRunner().invoke(app, ["presets"])
    assert result.exit_code == 0
    assert "cheetah_run" in result.stdout
    assert "dm_control/cheetah-run-v0" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_printed_command_goes_on(tmp_path, number):
    """Ctrl-C reaches the whole group, as from a terminal; what is printed continues the run."""
    out = tmp_path / "my run"
    process = _start(out)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    printed = output.split(f"stopped by {signal.Signals(number).name} and saved; to resume: ")[
        1
    ].splitlines()[0]
    program, *arguments = shlex.split(printed)
    assert program == "distill-rl"
    num_rows = len(read_metrics(out / "metrics.jsonl"))
    resumed = _run(
        *arguments, f"run.max_env_steps={read_metrics(out / 'metrics.jsonl')[-1]['env_steps'] + 16}"
    )
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed from checkpoint_{num_rows:08d}" in resumed.stdout
    assert (out / "summary.json").exists()


@pytest.mark.slow
def test_a_run_without_its_machines_says_so_and_stops_at_the_first_signal(tmp_path):
    """It has nothing to save yet."""
    command = _command(
        "train", "cartpole_balance", *_TINY[3:], "--size", "cluster", "--out", tmp_path / "run"
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stdout:
        if line.startswith("waiting for"):
            break
    assert line.startswith(
        "waiting for 32 x {CPU: 1, actor: 1}, 1 x {CPU: 1, evaluator: 1}, 1 x {GPU: 1, learner: 1}"
    )
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert output.splitlines()[-1] == "stopped by SIGINT before it began"


@pytest.mark.slow
def test_a_killed_driver_goes_on_from_its_newest_checkpoint(tmp_path):
    """SIGKILL leaves no chance to save: the run goes on from the one before, then can be judged."""
    process = _start(tmp_path / "run")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    resumed = _run("train", "--resume", "--out", tmp_path / "run", "run.max_env_steps=64")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from checkpoint_00000000" in resumed.stdout
    judged = _run("evaluate", tmp_path / "run", "--episodes", 2, "--search")
    assert judged.returncode == 0, judged.stderr
    assert [line.split()[0] for line in judged.stdout.splitlines()] == ["student", "search"]
