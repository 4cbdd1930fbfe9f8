"""Checkpoints of a run: atomic, checked by sha256, the last few kept.

    checkpoints/
      checkpoint_00000120/     what `save_fn` wrote, and
        manifest.json          step, metadata, and size and sha256 of every file
      latest                   one line: the name of the newest checkpoint

A checkpoint folder appears by one rename, so it is complete; a manifest that does not match its files means
that the disk changed them later.
"""

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill_rl.storage import atomic

MANIFEST_NAME = "manifest.json"
LATEST_NAME = "latest"
FORMAT_VERSION = 1

_NAME = re.compile(r"checkpoint_(\d{8,})")
_CORRUPTED_SUFFIX = ".corrupted"
_HASH_CHUNK_BYTES = 1 << 20
_MANIFEST_FIELDS: dict[str, type] = {"format_version": int, "step": int, "metadata": dict, "files": dict}

_logger = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or read; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on the disk.

    Attributes:
      path: its folder.
      step: training iteration it was saved at.
      metadata: what the writer noted beside it: counters, elapsed seconds, versions.
    """

    path: Path
    step: int
    metadata: dict[str, Any]


class CheckpointStore:
    """The `checkpoints/` folder of one run, written by one process."""

    def __init__(self, folder: str | Path, num_to_keep: int = 3):
        """Opens a folder, which need not exist yet.

        Args:
          folder: where the checkpoints lie.
          num_to_keep: how many of the newest survive a save; at least 1.

        Raises:
          ValueError: if `num_to_keep` is less than 1.
        """
        if num_to_keep < 1:
            raise ValueError(f"`num_to_keep` must be at least 1, got {num_to_keep}")
        self.folder = Path(folder)
        self._num_to_keep = num_to_keep

    def save(self, step: int, save_fn: Callable[[Path], None], metadata: Mapping[str, Any]) -> Path:
        """Writes a checkpoint, points `latest` at it, and removes the ones beyond the newest few.

        Args:
          step: training iteration, >= 0; names the checkpoint. One of the same step is replaced.
          save_fn: writes the content into the folder it is given.
          metadata: JSON-able notes, returned by `read_manifest`.

        Returns:
          Folder of the new checkpoint.

        Raises:
          ValueError: if `step` is negative.
          CheckpointError: if `save_fn` failed or the disk refused. Nothing of the attempt is left behind and
            the earlier checkpoints are untouched, so a caller may warn and go on.
        """
        if step < 0:
            raise ValueError(f"`step` must not be negative, got {step}")
        path = self.folder / _name_of(step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic.new_folder(path) as temporary:
                save_fn(temporary)
                _write_manifest(temporary, step, metadata)
            atomic.write_text(self.folder / LATEST_NAME, path.name + "\n")
        except Exception as error:
            # On a full disk writers raise many types: OSError, RuntimeError of torch, SafetensorError.
            raise CheckpointError(
                f"checkpoint {path.name} not saved: {type(error).__name__}: {error}"
            ) from error
        for old in self._paths()[self._num_to_keep :]:
            try:
                atomic.remove(old)
            except OSError as error:  # the new one is good all the same; the next save tries again
                _logger.warning("old checkpoint %s not removed: %s", old.name, error)
        return path

    def recover(self) -> Checkpoint | None:
        """Returns the newest checkpoint whose files match their manifest, ready to resume from.

        Sweeps leftovers of interrupted saves. A corrupted checkpoint is reported in one warning line, set
        aside under a `.corrupted` name, and the one before it is tried. `latest` then names the one returned.

        Returns:
          The checkpoint, or None if there is no good one.
        """
        for name in atomic.sweep_leftovers(self.folder):
            _logger.warning("removed %s, left by an interrupted save", name)
        for path in self._paths():
            problems = find_problems(path)
            if not problems:
                atomic.write_text(self.folder / LATEST_NAME, path.name + "\n")
                manifest = read_manifest(path)
                return Checkpoint(path, manifest["step"], manifest["metadata"])
            _logger.warning(
                "checkpoint %s is corrupted (%s); trying the one before it", path.name, problems[0]
            )
            aside = path.with_name(path.name + _CORRUPTED_SUFFIX)
            atomic.remove(aside)
            path.rename(aside)
        return None

    def latest(self) -> Path | None:
        """Returns the newest checkpoint folder without checking its files, or None."""
        paths = self._paths()
        return paths[0] if paths else None

    def _paths(self) -> list[Path]:
        """Returns the checkpoint folders, newest first."""
        if not self.folder.is_dir():
            return []
        matches = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        steps = [(int(match[1]), path) for match, path in matches if match]
        return [path for _, path in sorted(steps, reverse=True)]


def _name_of(step: int) -> str:
    return f"checkpoint_{step:08d}"


def find_problems(path: Path) -> list[str]:
    """Compares a checkpoint's files with its manifest.

    Args:
      path: checkpoint folder.

    Returns:
      One line for each file that is missing, altered or not listed, and for a manifest of another step;
      empty if the checkpoint is good.
    """
    try:
        manifest = read_manifest(path)
    except CheckpointError as error:
        return [str(error)]
    listed, present = manifest["files"], _describe_files(path)
    problems = [f"{name} is missing" for name in listed if name not in present]
    problems += [f"{name} is not in the manifest" for name in present if name not in listed]
    if path.name != _name_of(manifest["step"]):
        problems.append(f"{MANIFEST_NAME} is of step {manifest['step']}")
    for name in listed.keys() & present.keys():
        if present[name]["size"] != listed[name]["size"]:
            problems.append(f"{name} has {present[name]['size']} bytes, expected {listed[name]['size']}")
        elif present[name]["sha256"] != listed[name]["sha256"]:
            problems.append(f"{name} does not match its sha256")
    return sorted(problems)


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest of a checkpoint folder.

    Raises:
      CheckpointError: if it is missing, is not JSON, lacks a field, or has another format version.
    """
    try:
        manifest = json.loads((path / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name}/{MANIFEST_NAME} cannot be read: {error}") from error
    for name, kind in _MANIFEST_FIELDS.items():
        if not isinstance(manifest, dict) or not isinstance(manifest.get(name), kind):
            raise CheckpointError(f"{path.name}/{MANIFEST_NAME} lacks a field {name!r} of {kind.__name__}")
    if manifest["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path.name} must have format version {FORMAT_VERSION}, got {manifest['format_version']}"
        )
    return manifest


def _write_manifest(folder: Path, step: int, metadata: Mapping[str, Any]) -> None:
    manifest = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "metadata": dict(metadata),
        "files": _describe_files(folder),
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2, sort_keys=True), encoding="utf-8")


def _describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns size and sha256 of each file but the manifest, by its path inside `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in files
        if path != folder / MANIFEST_NAME
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
