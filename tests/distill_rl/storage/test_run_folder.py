"""The run folder: what may be created over what."""

import os

import pytest

from distill_rl.storage.run_folder import RunFolder


def _run(path):
    folder = RunFolder(path)
    folder.create()
    folder.write_config("environment: {}\n")
    return folder


def test_create_makes_the_folder(tmp_path):
    """A new run starts in an empty folder, made with its parents."""
    folder = RunFolder(tmp_path / "a" / "b")
    folder.create()
    assert folder.path.is_dir()
    assert not folder.is_run()


def test_a_run_is_not_overwritten_unless_asked(tmp_path):
    """Both ways on are named."""
    folder = _run(tmp_path / "run")
    with pytest.raises(ValueError, match="already holds a run; pass --resume to go on or --overwrite"):
        folder.create()
    folder.write_summary({"updates": 3})
    folder.create(overwrite=True)
    assert list(folder.path.iterdir()) == []


def test_what_is_not_a_run_is_never_removed(tmp_path):
    """`--overwrite` aimed at the wrong folder costs nothing."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not a run and not empty"):
        RunFolder(tmp_path).create(overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_that_cannot_be_made_or_written_to_is_named(tmp_path, monkeypatch):
    """Below a file, and where this user may not write."""
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/run` must be a folder that can be made: \[Errno 20\]"):
        RunFolder(tmp_path / "file" / "run").create()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may do anything
    with pytest.raises(ValueError, match=r"other` must be a folder that this user may write to"):
        RunFolder(tmp_path / "other").create()


def test_only_the_run_is_overwritten(tmp_path):
    """Another program's folder may have a `config.yaml` too: what no run writes stays."""
    folder = _run(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    for path in (folder.checkpoints_folder, folder.tensorboard_folder, folder.plots_folder):
        path.mkdir()
        (path / "file").touch()
    for path in (folder.metrics_path, folder.report_path, folder.failure_path):
        path.touch()
    folder.create(overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_summary_round_trip(tmp_path):
    """A run without a summary has an empty one."""
    folder = _run(tmp_path / "run")
    assert folder.read_summary() == {}
    folder.write_summary({"student_return": 1.5, "search_return": None})
    assert folder.read_summary() == {"student_return": 1.5, "search_return": None}


def test_require_run_names_what_is_missing(tmp_path):
    """A path that is no run folder gives one clear line."""
    with pytest.raises(ValueError, match="must be a run folder, got no config"):
        RunFolder(tmp_path).require_run()
