"""Writes that either happen whole or not at all.

A file or folder is written beside its destination, flushed to the disk (`fsync`), and renamed over it: on
POSIX a rename within one file system is atomic, so a reader, or the next start after a crash, sees the old
content or the new one and never a part. What a killed writer leaves behind is a temporary name that
`sweep_leftovers` recognises. A folder cannot be renamed over another: for a moment the old one stands aside,
and a writer that is killed in that moment leaves it there, for `sweep_leftovers` to put back.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY_MARK, _RETIRED_MARK = ".tmp-", ".old-"
_LEFTOVER_NAME = re.compile(r"\.(?P<destination>.+)(?P<mark>\.tmp-|\.old-)[a-z0-9_]+")


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically, in UTF-8.

    Args:
      path: destination; its folder must exist.
      text: whole content.

    Raises:
      OSError: if the disk refuses, after the temporary file is removed; the old file is then untouched.
    """
    path = Path(path)
    temporary = _path_beside(path, _TEMPORARY_MARK)
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Gives a temporary folder that becomes `path` when the block ends without an error.

    Every file in it is flushed to the disk before the rename. A folder that `path` already names is replaced.

    Args:
      path: destination; its parent must exist.

    Yields:
      The temporary folder, empty, on the file system of the destination.

    Raises:
      OSError: if the disk refuses, after the temporary folder is removed.
    """
    path = Path(path)
    temporary = _path_beside(path, _TEMPORARY_MARK)
    temporary.mkdir()
    try:
        yield temporary
        _sync_tree(temporary)
        _replace_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def sweep_leftovers(folder: str | Path) -> list[str]:
    """Removes what interrupted writes left in `folder`, and puts back what they had taken aside.

    Only for the one writer of that folder: the unfinished write of another process looks the same.

    Args:
      folder: where `write_text` and `new_folder` write; need not exist.

    Returns:
      Names of what was removed, sorted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    removed = []
    for name in sorted(entry.name for entry in folder.iterdir()):
        if (leftover := _LEFTOVER_NAME.fullmatch(name)) is None:
            continue
        destination = folder / leftover["destination"]
        if leftover["mark"] == _RETIRED_MARK and not destination.exists():
            os.rename(folder / name, destination)
        else:
            remove(folder / name)
            removed.append(name)
    return removed


def remove(path: Path) -> None:
    """Removes a file or a folder with all it holds; what does not exist counts as removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: str | Path) -> None:
    """Flushes the names in a folder to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _path_beside(path: Path, mark: str) -> Path:
    # `mktemp` only names: two writers of one destination must not share a temporary file.
    return Path(tempfile.mktemp(prefix=f".{path.name}{mark}", dir=path.parent))


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(root)


def _replace_folder(source: Path, destination: Path) -> None:
    """Renames `source` to `destination`; a full folder there moves away first, as a rename needs."""
    if not destination.exists():
        os.rename(source, destination)
        return
    retired = _path_beside(destination, _RETIRED_MARK)
    os.rename(destination, retired)
    try:
        os.rename(source, destination)
    except OSError:
        os.rename(retired, destination)
        raise
    remove(retired)
