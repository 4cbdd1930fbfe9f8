"""Checkpoints: complete, checked, the last few kept, and a fallback when one is damaged."""

import json
import logging
import os
import signal
import subprocess
import sys

import pytest

from distill_rl.storage.checkpoints import CheckpointError, CheckpointStore, find_problems, read_manifest

_KILLED_WRITER = """
import os, signal, sys
from distill_rl.storage.checkpoints import CheckpointStore
def save(folder):
    (folder / "weights").write_bytes(bytes(100_000))
    os.kill(os.getpid(), signal.SIGKILL)
CheckpointStore(sys.argv[1]).save(2, save, {})
"""


def _writer(content):
    def save(folder):
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_bytes(content)

    return save


def _edit_manifest(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def _flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_save_then_recover_gives_content_step_and_metadata_back(tmp_path):
    """What was saved is what is recovered."""
    store = CheckpointStore(tmp_path / "checkpoints")
    path = store.save(7, _writer(b"abc"), {"env_steps": 12})
    checkpoint = store.recover()
    assert checkpoint.path == path == store.latest()
    assert (checkpoint.step, checkpoint.metadata) == (7, {"env_steps": 12})
    assert (path / "policy" / "weights").read_bytes() == b"abc"
    assert (store.folder / "latest").read_text().strip() == path.name


def test_manifest_holds_the_sha256_of_every_file(tmp_path):
    """The digest is that of `sha256sum`: of `abc` it is the one printed in FIPS 180."""
    path = CheckpointStore(tmp_path).save(1, _writer(b"abc"), {})
    files = read_manifest(path)["files"]
    assert files == {
        "policy/weights": {
            "size": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    }


def test_only_the_last_k_are_kept(tmp_path):
    """Saving K + 2 times leaves the newest K."""
    store = CheckpointStore(tmp_path, num_to_keep=2)
    for step in (1, 20, 3, 100_000_000):
        store.save(step, _writer(b"x"), {})
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_00000020", "checkpoint_100000000", "latest"]
    assert store.latest().name == "checkpoint_100000000"


def test_a_flipped_byte_falls_back_to_the_previous_checkpoint_with_one_warning(tmp_path, caplog):
    """A damaged checkpoint is never resumed from; it is set aside and `latest` moves back."""
    store = CheckpointStore(tmp_path)
    good = store.save(1, _writer(b"first"), {})
    bad = store.save(2, _writer(b"second"), {})
    _flip_a_byte(bad / "policy" / "weights")
    with caplog.at_level(logging.WARNING):
        assert store.recover().path == good
    assert [r.getMessage() for r in caplog.records] == [
        "checkpoint checkpoint_00000002 is corrupted (policy/weights does not match its sha256); "
        "trying the one before it"
    ]
    assert (tmp_path / "latest").read_text().strip() == good.name
    assert (tmp_path / "checkpoint_00000002.corrupted").is_dir()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: (path / "policy" / "weights").unlink(), "policy/weights is missing"),
        (lambda path: (path / "policy" / "weights").write_bytes(b"ab"), "has 2 bytes, expected 3"),
        (lambda path: (path / "extra").touch(), "extra is not in the manifest"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json cannot be read"),
        (lambda path: (path / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda path: (path / "manifest.json").write_text("{}"), "lacks a field"),
        (lambda path: _edit_manifest(path, files=[]), "lacks a field 'files' of dict"),
        (lambda path: _edit_manifest(path, step=9), "manifest.json is of step 9"),
    ],
)
def test_every_kind_of_damage_is_named(tmp_path, damage, problem):
    """Missing, cut, added files and a broken manifest are all found."""
    path = CheckpointStore(tmp_path).save(1, _writer(b"abc"), {})
    assert find_problems(path) == []
    damage(path)
    assert len(find_problems(path)) == 1
    assert problem in find_problems(path)[0]


def test_another_format_version_is_refused(tmp_path):
    """A manifest of a later format is not read as if it were ours."""
    path = CheckpointStore(tmp_path).save(1, _writer(b"abc"), {})
    _edit_manifest(path, format_version=99)
    with pytest.raises(CheckpointError, match="must have format version 1, got 99"):
        read_manifest(path)


def test_recover_without_a_good_checkpoint_returns_none(tmp_path):
    """Neither an absent folder nor one with only damaged checkpoints gives one."""
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.recover() is None
    _flip_a_byte(store.save(1, _writer(b"abc"), {}) / "policy" / "weights")
    assert store.recover() is None


def test_a_save_that_fails_leaves_no_junk_and_the_next_one_works(tmp_path):
    """A full disk costs one checkpoint, not the run: earlier ones stay and later ones can be written."""

    def full_disk(folder):
        (folder / "junk").write_bytes(bytes(1000))
        raise OSError(28, "No space left on device")

    store = CheckpointStore(tmp_path)
    good = store.save(1, _writer(b"abc"), {})
    with pytest.raises(CheckpointError, match=r"checkpoint_00000002 not saved: OSError.*No space left"):
        store.save(2, full_disk, {})
    assert sorted(os.listdir(tmp_path)) == [good.name, "latest"]
    assert find_problems(good) == []
    assert store.save(3, _writer(b"abc"), {}) == store.latest()


def test_a_writer_killed_in_the_middle_of_a_save_costs_only_that_checkpoint(tmp_path, caplog):
    """After SIGKILL inside `save_fn`, recovery sweeps the leftover and returns the checkpoint before."""
    store = CheckpointStore(tmp_path)
    good = store.save(1, _writer(b"abc"), {})
    killed = subprocess.run([sys.executable, "-c", _KILLED_WRITER, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 3
    with caplog.at_level(logging.WARNING):
        assert store.recover().path == good
    assert "left by an interrupted save" in caplog.text
    assert sorted(os.listdir(tmp_path)) == [good.name, "latest"]


def test_an_old_checkpoint_that_cannot_be_removed_costs_no_new_one(tmp_path, monkeypatch, caplog):
    """The save has succeeded; the next one tries to remove it again."""
    store = CheckpointStore(tmp_path, num_to_keep=1)
    store.save(1, _writer(b"abc"), {})

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("distill_rl.storage.atomic.remove", refuse)
    path = store.save(2, _writer(b"abc"), {})
    assert "old checkpoint checkpoint_00000001 not removed" in caplog.text
    monkeypatch.undo()
    assert store.latest() == path
    store.save(3, _writer(b"abc"), {})
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_00000003", "latest"]


def test_steps_are_counted_from_zero(tmp_path):
    """A name with a sign would not be found again."""
    with pytest.raises(ValueError, match="`step` must not be negative, got -1"):
        CheckpointStore(tmp_path).save(-1, _writer(b"abc"), {})


def test_saving_the_same_step_again_replaces_it(tmp_path):
    """A run that resumed may reach a step it had already saved."""
    store = CheckpointStore(tmp_path)
    store.save(5, _writer(b"one"), {})
    path = store.save(5, _writer(b"two"), {})
    assert (path / "policy" / "weights").read_bytes() == b"two"
    assert find_problems(path) == []


def test_num_to_keep_must_be_positive(tmp_path):
    """Keeping none would remove the checkpoint just written."""
    with pytest.raises(ValueError, match="`num_to_keep` must be at least 1, got 0"):
        CheckpointStore(tmp_path, num_to_keep=0)
