"""Atomic writes: whole or not at all, also when the writer is killed or the disk is full."""

import os
import signal
import subprocess
import sys
import time

import pytest

from distill_rl.storage import atomic

_ENDLESS_WRITER = """
import sys
from distill_rl.storage import atomic
with atomic.new_folder(sys.argv[1]) as folder:
    with open(folder / "weights", "wb") as file:
        print("writing", flush=True)
        while True:
            file.write(b"x" * 4096)
            file.flush()
            import time; time.sleep(0.01)
"""


def test_write_text_replaces_the_old_content(tmp_path):
    """The last write wins and leaves one file."""
    path = tmp_path / "latest"
    atomic.write_text(path, "one")
    atomic.write_text(path, "two")
    assert path.read_text() == "two"
    assert os.listdir(tmp_path) == ["latest"]


def test_write_text_that_fails_keeps_the_old_content(tmp_path):
    """An error while writing (here: a lone surrogate that UTF-8 refuses) changes nothing."""
    path = tmp_path / "latest"
    atomic.write_text(path, "good")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text(path, "half " * 10_000 + "\ud800")
    assert path.read_text() == "good"
    assert os.listdir(tmp_path) == ["latest"]


def test_new_folder_appears_only_at_the_end(tmp_path):
    """A reader never sees the destination while it is being filled."""
    path = tmp_path / "checkpoint"
    with atomic.new_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("content")
        assert not path.exists()
    assert (path / "sub" / "a").read_text() == "content"
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_new_folder_replaces_an_old_one_whole(tmp_path):
    """Files of the replaced folder do not mix with the new ones."""
    path = tmp_path / "checkpoint"
    for name in ("old", "new"):
        with atomic.new_folder(path) as folder:
            (folder / name).touch()
    assert os.listdir(path) == ["new"]
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_replaced_folder_comes_back_if_its_successor_does_not(tmp_path, monkeypatch):
    """Killed between the two renames of a replacement: the next start has the old content, not none."""
    path, rename = tmp_path / "checkpoint", os.rename
    path.mkdir()
    (path / "old").touch()

    def die_at_the_second(source, destination):
        if destination == path:
            raise KeyboardInterrupt
        rename(source, destination)

    monkeypatch.setattr(os, "rename", die_at_the_second)
    with pytest.raises(KeyboardInterrupt), atomic.new_folder(path) as folder:
        (folder / "new").touch()
    assert not path.exists()
    monkeypatch.undo()
    assert atomic.sweep_leftovers(tmp_path) == []
    assert os.listdir(path) == ["old"]
    path.rename(tmp_path / ".checkpoint.old-abc")
    path.mkdir()
    assert atomic.sweep_leftovers(tmp_path) == [".checkpoint.old-abc"]


def test_replacement_that_the_disk_refuses_changes_nothing(tmp_path, monkeypatch):
    """The old folder is back at once."""
    path, rename = tmp_path / "checkpoint", os.rename
    path.mkdir()
    (path / "old").touch()

    def refuse(source, destination):
        if destination == path and ".tmp-" in source.name:
            raise OSError(28, "No space left on device")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="No space left"), atomic.new_folder(path) as folder:
        (folder / "new").touch()
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert os.listdir(path) == ["old"]


def test_new_folder_that_fails_leaves_nothing(tmp_path):
    """An error in the block, such as a full disk, leaves neither the folder nor junk."""
    with pytest.raises(OSError, match="No space left"), atomic.new_folder(tmp_path / "checkpoint") as folder:
        (folder / "big").write_bytes(bytes(1000))
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_new_folder_on_a_full_device_leaves_nothing(tmp_path):
    """A real ENOSPC, met when the data are flushed, is reported and cleaned up."""
    with (
        pytest.raises(OSError, match="No space left"),
        atomic.new_folder(tmp_path / "checkpoint"),
        open("/dev/full", "wb") as device,
    ):
        device.write(bytes(10))
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_the_old_folder_and_a_leftover_that_is_swept(tmp_path):
    """SIGKILL in the middle of a save: the destination is the old one, and the junk is recognised."""
    path = tmp_path / "checkpoint"
    with atomic.new_folder(path) as folder:
        (folder / "weights").write_text("old")
    writer = subprocess.Popen([sys.executable, "-c", _ENDLESS_WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"writing\n"
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()

    assert (path / "weights").read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    assert len(atomic.sweep_leftovers(tmp_path)) == 1
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_sweep_spares_what_is_not_a_leftover(tmp_path):
    """Hidden files of others, and names that only resemble a leftover, stay."""
    for name in (".hidden", "a.tmp-x", ".tmp-", "checkpoint"):
        (tmp_path / name).touch()
    assert atomic.sweep_leftovers(tmp_path) == []
    assert len(os.listdir(tmp_path)) == 4


def test_sweep_of_a_missing_folder_is_empty(tmp_path):
    """A run that never saved has nothing to sweep."""
    assert atomic.sweep_leftovers(tmp_path / "none") == []
