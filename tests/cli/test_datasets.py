import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from distill_rl.cli.main import app

runner = CliRunner()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def _d4rl_file(path, num_episodes=6, length=20):
    total = num_episodes * length
    generator = np.random.default_rng(0)
    terminals, timeouts = np.zeros(total, bool), np.zeros(total, bool)
    terminals[length - 1 :: 2 * length] = True
    timeouts[2 * length - 1 :: 2 * length] = True
    with h5py.File(path, "w") as file:
        file["observations"] = generator.normal(size=(total, 4)).astype(np.float32)
        file["next_observations"] = generator.normal(size=(total, 4)).astype(np.float32)
        file["actions"] = generator.uniform(-1, 1, (total, 2)).astype(np.float32)
        file["rewards"] = np.ones(total, np.float32)
        file["terminals"] = terminals
        file["timeouts"] = timeouts
        file["infos/action_log_probs"] = np.zeros(total, np.float32)
    return path


def _run(*arguments):
    found = runner.invoke(app, ["datasets", *map(str, arguments)])
    return found.exit_code, found.output


def test_a_file_is_imported_shown_exported_and_imported_again(tmp_path):
    """From D4RL to Minari and back, with the figures on the way."""
    path = _d4rl_file(tmp_path / "hopper_medium-v2.hdf5")
    code, output = _run("import", path)
    assert code == 0 and (tmp_path / "datasets" / "hopper-medium-v2" / "dataset.json").is_file()
    assert output.strip().endswith("hopper-medium-v2")
    code, output = _run("show", "hopper-medium-v2")
    assert code == 0 and "120, 117 of them transitions" in output and "score 1.2" in output
    assert "of every action" in output
    assert (tmp_path / "datasets" / "hopper-medium-v2" / "states.png").stat().st_size > 5_000
    code, output = _run("export", "hopper-medium-v2", "own/hopper/medium-v0")
    assert code == 0, output
    code, output = _run("import", "own/hopper/medium-v0", "--name", "again")
    assert code == 0, output
    code, output = _run("import", path)
    assert code == 2 and "must be free" in output
    assert _run("import", path, "--overwrite")[0] == 0
    code, output = _run("list")
    assert code == 0 and "again" in output and "hopper-medium-v2" in output


def test_nothing_there_is_told():
    """With what to do about it."""
    code, output = _run("list")
    assert code == 0 and "get one by `distill-rl datasets import`" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "none"), "there are none"),
        (("import", "none.hdf5"), "`none.hdf5` must be an HDF5 file, got no such file"),
        (("import", "ok-v2.h5df"), "`source` must be an HDF5 file of D4RL, called *.hdf5 or *.h5, or the id"),
        (("import", "runs/x"), "data of a run's policy: distill-rl collect TASK --from RUN"),
        (("import", "own/none-v0"), "must be a Minari dataset"),
        (("import", "own/none-v0", "--name", ".."), "must be that of a plain folder"),
        (("import", "own/none-v0", "--max-episode-steps", "3"), "`max_episode_steps` goes with HDF5 files"),
        (("import", "none.hdf5", "--download"), "`download` goes with Minari datasets"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    """No trace, status 2, and nothing half-imported."""
    code, output = _run(*arguments)
    assert code == 2 and message in output and "Traceback" not in output
    assert _run("list")[1].startswith("no datasets")


def test_a_file_of_another_suffix_is_no_minari_dataset(tmp_path, monkeypatch):
    """Even if its name would do for one."""
    monkeypatch.chdir(tmp_path)
    _d4rl_file(tmp_path / "hopper-v2")
    code, output = _run("import", "hopper-v2")
    assert (
        code == 2 and "must be an HDF5 file of D4RL, called *.hdf5" in output and "got 'hopper-v2'" in output
    )


def test_one_damaged_dataset_does_not_hide_the_others(tmp_path):
    """It is listed with what is wrong."""
    _run("import", _d4rl_file(tmp_path / "hopper-medium-v2.hdf5"))
    _run("import", _d4rl_file(tmp_path / "hopper-mine-v9.hdf5"))
    for file, content in (("rewards.npy", ""), ("dataset.json", "{")):
        (tmp_path / "datasets" / "hopper-medium-v2" / file).write_text(content)
        code, output = _run("list")
        rows = [line.split()[:2] for line in output.splitlines()[1:3]]
        assert code == 0 and rows == [["hopper-medium-v2", "-"], ["hopper-mine-v9", "6"]], output
        problem = output.splitlines()[-1]
        assert problem.startswith("hopper-medium-v2: `") and f"{file}` is" in problem
