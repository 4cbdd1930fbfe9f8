"""Datasets on disk: a folder with one `.npy` file for each array, read by mapping them into memory."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from distill_rl.checks import nearest
from distill_rl.datasets.offline_dataset import ARRAYS, OfflineDataset
from distill_rl.storage import atomic

FORMAT_VERSION = 1
FOLDER_VARIABLE = "DISTILL_RL_DATASETS"
"""Environment variable that names the folder of all datasets."""

_DESCRIPTION = "dataset.json"
_OPTIONAL = "behaviour_log_probs"


def datasets_folder() -> Path:
    """Returns the folder of all datasets: that of the environment variable, or one in the user's home."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".distill_rl" / "datasets")


def dataset_names(folder: Path | None = None) -> list[str]:
    """Returns the names of the datasets in a folder (all datasets' by default), sorted."""
    folder = folder or datasets_folder()
    return sorted(path.parent.name for path in folder.glob(f"*/{_DESCRIPTION}"))


def save_dataset(dataset: OfflineDataset, path: Path) -> Path:
    """Writes a dataset, whole or not at all; one that is there is replaced.

    Args:
      dataset: to write.
      path: its folder; parents are made.

    Returns:
      The folder.

    Raises:
      ValueError: if the dataset is malformed.
    """
    dataset.validate()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.new_folder(path) as folder:
        for name in ARRAYS:
            array = getattr(dataset, name)
            if array is not None:
                np.save(folder / f"{name}.npy", array)
        description = {"format_version": FORMAT_VERSION, "metadata": dataset.metadata}
        (folder / _DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")
    return path


def load_dataset(name_or_path: str | Path, is_mapped: bool = True) -> OfflineDataset:
    """Opens a dataset.

    Args:
      name_or_path: a name in the folder of all datasets, or the folder of one.
      is_mapped: arrays stay on disk and are read where they are used; else they are read now.

    Raises:
      ValueError: if there is none (naming the nearest), it is of a newer format, or a file is damaged.
    """
    path = _find(name_or_path)
    try:
        description = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
        version, metadata = description["format_version"], description["metadata"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"`{path / _DESCRIPTION}` is damaged: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"`{path}` must have format version {FORMAT_VERSION}, got {version}")
    arrays = {}
    for name in ARRAYS:
        file = path / f"{name}.npy"
        if name == _OPTIONAL and not file.is_file():
            continue
        try:
            arrays[name] = np.load(file, mmap_mode="r" if is_mapped else None, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"`{file}` is missing or damaged: {error}") from error
    return OfflineDataset(**arrays, metadata=metadata)


def concatenate(datasets: list[OfflineDataset], name: str) -> OfflineDataset:
    """Joins datasets of one environment, episodes of the first one first.

    Log-densities of actions are kept if all have them.

    Args:
      datasets: at least one.
      name: of the result.

    Raises:
      ValueError: if there is none, or sizes disagree.
    """
    if not datasets:
        raise ValueError("`datasets` must hold at least one, got none")
    arrays: dict[str, Any] = {}
    for array_name in ARRAYS:
        parts = [getattr(dataset, array_name) for dataset in datasets]
        arrays[array_name] = None if any(part is None for part in parts) else np.concatenate(parts)
    offsets = np.cumsum([0, *(len(dataset) for dataset in datasets[:-1])])
    arrays["episode_ends"] = np.concatenate(
        [dataset.episode_ends + offset for dataset, offset in zip(datasets, offsets, strict=True)]
    )
    first = datasets[0]
    sources = [dataset.metadata.get("name") for dataset in datasets]
    metadata = first.metadata | {"name": name, "source": f"joined from {', '.join(map(str, sources))}"}
    return dataclasses.replace(first, **arrays, metadata=metadata).validate()


def _find(name_or_path: str | Path) -> Path:
    for path in (Path(name_or_path), datasets_folder() / name_or_path):
        if (path / _DESCRIPTION).is_file():
            return path
    known = dataset_names()
    raise ValueError(
        f"`name_or_path` must be a dataset in {datasets_folder()} or the folder of one, got "
        f"{str(name_or_path)!r}{nearest(str(name_or_path), known)}; there are {', '.join(known) or 'none'}"
    )
