"""Datasets on disk: a folder with one `.npy` file for each array, read by mapping them into memory."""

import json
import os
import re
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from distill_rl.checks import check_shape, nearest
from distill_rl.datasets.behaviour import BehaviourPolicy
from distill_rl.datasets.offline_dataset import ARRAYS, OfflineDataset
from distill_rl.storage import atomic

FORMAT_VERSION = 1
FOLDER_VARIABLE = "DISTILL_RL_DATASETS"
"""Environment variable that names the folder of all datasets."""

_DESCRIPTION = "dataset.json"
_OPTIONAL = "behaviour_log_probs"
_POLICY = "behaviour_policy.npz"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, SyntaxError, TokenError, zipfile.BadZipFile)
"""What numpy raises for files that are cut off, or have other bytes in their headers."""

_OWN = re.compile(r"own-(?P<task>.+?)-(?P<kind>medium-replay|medium-expert|full-replay|[^-]+)")
_PRESETS = {"halfcheetah": "half_cheetah"}


def datasets_folder() -> Path:
    """Returns the folder of all datasets: that of the environment variable, or one in the user's home."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".distill_rl" / "datasets")


def dataset_names(folder: Path | None = None) -> list[str]:
    """Returns the names of the datasets in a folder (all datasets' by default), sorted."""
    folder = folder or datasets_folder()
    names = (path.parent.name for path in folder.glob(f"*/{_DESCRIPTION}"))
    return sorted(name for name in names if not name.startswith("."))  # else unfinished


def dataset_path(name: str) -> Path:
    """Returns the folder that a dataset of a name has, or would have.

    Raises:
      ValueError: if the name is not that of a plain folder.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"`name` must be that of a plain folder, got {name!r}")
    return datasets_folder() / name


def command_for(name: str) -> str:
    """Returns the command line that brings a dataset here: ours are collected, others read from a file.

    Args:
      name: of the dataset.
    """
    own = _OWN.fullmatch(name)
    if own is None:
        return f"distill-rl datasets import FILE --name {name}"
    task = own["task"]
    return f"distill-rl collect {_PRESETS.get(task, task.replace('-', '_'))} --kind {own['kind']}"


def save_dataset(dataset: OfflineDataset, path: Path, overwrite: bool = False) -> Path:
    """Writes a dataset, whole or not at all.

    Args:
      dataset: to write.
      path: its folder; parents are made.
      overwrite: whether a dataset that is there is replaced. What is no dataset never is.

    Returns:
      The folder.

    Raises:
      ValueError: if the dataset is malformed, or something is there.
    """
    dataset.validate()
    is_dataset = (path / _DESCRIPTION).is_file()
    if path.exists() and not (overwrite and is_dataset):
        hint = "; it is replaced with --overwrite" if is_dataset else ", which is no dataset"
        raise ValueError(f"`path` must be free, got {path}{hint}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.new_folder(path) as folder:
        for name in ARRAYS:
            array = getattr(dataset, name)
            if array is not None:
                np.save(folder / f"{name}.npy", array)
        if dataset.behaviour_policy is not None:
            policy: dict[str, Any] = dict(dataset.behaviour_policy.to_arrays())
            np.savez(folder / _POLICY, **policy)
        description = {
            "format_version": FORMAT_VERSION,
            "metadata": dataset.metadata,
            "has_final_observations": dataset.has_final_observations,
        }
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
    path = find_dataset(name_or_path)
    try:
        description = json.loads((path / _DESCRIPTION).read_text(encoding="utf-8"))
        version = description["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"`{path / _DESCRIPTION}` is damaged: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"`{path}` must have format version {FORMAT_VERSION}, got {version}")
    arrays: dict[str, Any] = {}
    for name in ARRAYS:
        file = path / f"{name}.npy"
        if name == _OPTIONAL and not file.is_file():
            continue
        try:
            arrays[name] = np.load(file, mmap_mode="r" if is_mapped else None, allow_pickle=False)
        except _DAMAGE as error:
            raise ValueError(f"`{file}` is missing or damaged: {error}") from error
    try:
        dataset = OfflineDataset(
            **arrays,
            metadata=description["metadata"],
            has_final_observations=description["has_final_observations"],
            behaviour_policy=_load_policy(path / _POLICY),
        )
        dataset.check_layout()
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"`{path}` is damaged: {error}") from error
    return dataset


def _load_policy(file: Path) -> BehaviourPolicy | None:
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return BehaviourPolicy.from_arrays(dict(arrays))
    except _DAMAGE as error:
        raise ValueError(f"`{file.name}` cannot be read: {error}") from error


def concatenate(datasets: list[OfflineDataset], name: str) -> OfflineDataset:
    """Joins datasets of one environment, episodes of the first one first.

    Log-densities of actions are kept if all have them; a behaviour policy is not, since there are several.

    Args:
      datasets: at least one.
      name: of the result.

    Raises:
      ValueError: if there is none, or their environments, bounds of actions or sizes disagree.
    """
    if not datasets:
        raise ValueError("`datasets` must hold at least one, got none")
    first = datasets[0]
    for other in datasets[1:]:
        for key in ("env", "action_low", "action_high"):
            ours, theirs = first.metadata.get(key), other.metadata.get(key)
            if ours != theirs:
                raise ValueError(f"`datasets` must be alike in {key!r}, got {ours} and {theirs}")
        check_shape("observations", other.observations, (None, first.observations.shape[1]))
        check_shape("actions", other.actions, (None, first.actions.shape[1]))
    arrays: dict[str, Any] = {}
    for array_name in ARRAYS:
        parts = [getattr(dataset, array_name) for dataset in datasets]
        arrays[array_name] = None if any(part is None for part in parts) else np.concatenate(parts)
    offsets = np.cumsum([0, *(len(dataset) for dataset in datasets[:-1])])
    arrays["episode_ends"] = np.concatenate(
        [dataset.episode_ends + offset for dataset, offset in zip(datasets, offsets, strict=True)]
    )
    sources = [str(dataset.metadata["name"]) for dataset in datasets]
    return OfflineDataset(
        **arrays,
        metadata=first.metadata | {"name": name, "source": f"joined from {', '.join(sources)}"},
        has_final_observations=all(dataset.has_final_observations for dataset in datasets),
    ).validate()


def find_dataset(name_or_path: str | Path, argument: str = "name_or_path") -> Path:
    """Returns the folder of a dataset.

    Args:
      name_or_path: a name in the folder of all datasets, or the folder of one.
      argument: what the caller calls it, for the message.

    Raises:
      ValueError: if there is none, naming the nearest and the command that brings it here.
    """
    for path in (Path(name_or_path), datasets_folder() / name_or_path):
        if (path / _DESCRIPTION).is_file():
            return path
    known = dataset_names()
    raise ValueError(
        f"`{argument}` must be a dataset in {datasets_folder()} or the folder of one, got "
        f"{str(name_or_path)!r}{nearest(str(name_or_path), known)}; there are {', '.join(known) or 'none'}; "
        f"to get it: {command_for(Path(name_or_path).name)}"
    )
