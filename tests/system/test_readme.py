"""The README's commands and programs run as they are printed; only their time is cut short."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_rl.cli.main import app

_REPOSITORY = Path(__file__).parents[2]
_README = (_REPOSITORY / "README.md").read_text(encoding="utf-8")
_BIN = Path(sys.executable).parent


def _blocks(language, containing):
    blocks = re.findall(rf"```{language}\n(.*?)```", _README, flags=re.DOTALL)
    return [block for block in blocks if containing in block]


def _block(language, containing):
    (block,) = _blocks(language, containing)
    return block


def _run(command, folder, **kwargs):
    env = os.environ | {"PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_algorithm_config_trains(tmp_path):
    """Three iterations; environment steps and updates rise."""
    output = _run([sys.executable, "-c", _block("python", "DistillConfig()")], tmp_path)
    rows = [line.split() for line in output.splitlines() if re.match(r"\d+ \d+ ", line)]
    assert len(rows) == 3
    env_steps = [int(row[0]) for row in rows]
    assert env_steps == sorted(set(env_steps))
    assert int(rows[-1][1]) > 0


@pytest.mark.slow
def test_the_local_commands_train_evaluate_and_load(tmp_path):
    """The shell block with five minutes cut to five seconds, then the program that loads the policy."""
    script = _block("bash", "--time-limit 5m").replace("--time-limit 5m", "--time-limit 5s")
    output = _run(["bash", "-e", "-c", script], tmp_path)
    assert re.search(r"student +\d", output)
    assert "student return" in output
    output = _run([sys.executable, "-c", _block("python", "load_policy")], tmp_path)
    assert output.startswith("[")


def test_the_cluster_block_names_a_file_and_a_command_that_exist(tmp_path, monkeypatch):
    """The file is validated elsewhere; the command that runs there is read by the command line itself."""
    up, run, down = _block("bash", "ray up").splitlines()
    assert up.split()[-1] == down.split()[-1]
    assert (_REPOSITORY / up.split()[-1]).is_file()
    remote = shlex.split(run)[3]
    program, *arguments = shlex.split(remote.split("&&")[-1].strip())
    assert program.endswith("distill-rl")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*arguments, "search.no_such_setting=1"])
    assert "no option 'no_such_setting'" in result.stderr  # everything before it was accepted


def test_every_path_in_the_readme_exists():
    """Links into the repository lead somewhere."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", _README)
    assert links
    assert [link for link in links if not (_REPOSITORY / link).exists()] == []


def test_every_command_in_the_readme_exists():
    """`distill-rl X` and `make X` are commands."""
    commands = set(re.findall(r"distill-rl (\w+)", _README))
    listed = CliRunner().invoke(app, ["--help"]).stdout
    assert {name for name in commands if not re.search(rf"\b{name}\b", listed)} == set()
    makefile = (_REPOSITORY / "Makefile").read_text()
    targets = {name for block in _blocks("bash", "") for name in re.findall(r"^make ([\w-]+)", block, re.M)}
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
