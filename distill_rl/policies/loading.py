"""Saved policies: `policy.safetensors` and `policy.json` in a folder, read without Ray and without pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from distill_rl.checks import check_finite
from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.networks.world_model import Encoder
from distill_rl.policies.chunk import ChunkPolicy
from distill_rl.policies.description import assemble_policy, check_description, describe_policy, weights_of
from distill_rl.policies.kinds import Policy
from distill_rl.policies.loaded import LoadedChunkPolicy, LoadedPolicy

_WEIGHTS_NAME = "policy.safetensors"
_DESCRIPTION_NAME = "policy.json"
_LATEST_NAME = "latest"
_DIGEST = "weights_sha256"


def save_policy(
    policy: Policy | ChunkPolicy,
    path: str | Path,
    metadata: dict[str, Any],
    encoder: Encoder | None = None,
    critic: QEnsemble | None = None,
) -> Path:
    """Writes a policy into a folder.

    Args:
      policy: see `describe_policy`.
      path: folder; made if missing. Not atomic: write into a temporary folder where that matters.
      metadata: see `describe_policy`.
      encoder: see `describe_policy`.
      critic: see `describe_policy`.

    Returns:
      The folder.

    Raises:
      ValueError: if a weight is not finite, naming the tensor; nothing is written.
    """
    weights = weights_of(policy, encoder, critic)
    for name, tensor in weights.items():
        check_finite(name, tensor)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    content = safetensors.torch.save(weights)
    description = describe_policy(policy, metadata, encoder, critic)
    description[_DIGEST] = hashlib.sha256(content).hexdigest()
    (folder / _WEIGHTS_NAME).write_bytes(content)
    (folder / _DESCRIPTION_NAME).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder


def load_policy(path: str | Path, name: str = "policy") -> LoadedPolicy | LoadedChunkPolicy:
    """Reads a policy saved by `save_policy`.

    Args:
      path: its folder, a checkpoint, or a run folder (its latest checkpoint).
      name: of a checkpoint with several policies, which one: its subfolder.

    Returns:
      One that acts; of the second type if it was saved as one over chunks of actions.

    Raises:
      ValueError: if there is no policy, it is of a newer format, or a file is damaged; the message names the
        file.
    """
    folder = find_policy_folder(path, name)
    description = _read_description(folder / _DESCRIPTION_NAME)
    weights_path = folder / _WEIGHTS_NAME
    if not weights_path.is_file():
        raise ValueError(f"`{weights_path}` must hold the weights of the policy, got no such file")
    content = weights_path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != description[_DIGEST]:
        raise ValueError(f"`{weights_path}` is damaged: expected sha256 {description[_DIGEST]}, got {digest}")
    try:
        weights = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"`{weights_path}` does not fit {_DESCRIPTION_NAME}: {error}") from error
    return assemble_policy(description, weights, folder / _DESCRIPTION_NAME, weights_path)


def policy_digest(path: str | Path) -> str:
    """Returns the sha256 of a policy's weights, by which policies are told apart; see `load_policy`."""
    digest: str = _read_description(find_policy_folder(path) / _DESCRIPTION_NAME)[_DIGEST]
    return digest


def find_policy_folder(path: str | Path, name: str = "policy") -> Path:
    """Finds the folder of a policy from that folder, a checkpoint, a `checkpoints` folder or a run folder.

    Args:
      path: where to look.
      name: of the policy's folder in a checkpoint.

    Raises:
      ValueError: if none is found.
    """
    for root in checkpoint_folders(path):
        for folder in (root, root / name):
            if (folder / _DESCRIPTION_NAME).is_file():
                return folder
    raise ValueError(
        f"`{path}` must hold a policy ({_DESCRIPTION_NAME}) or a run with a checkpoint of one as {name!r}, "
        "got neither there"
    )


def checkpoint_folders(path: str | Path) -> list[Path]:
    """Returns a folder and, if it is of a run or of checkpoints, that of the newest one.

    Pointers called `latest` hold the name of the newest checkpoint beside them in one line.
    """
    path = Path(path)
    pointers = [path / _LATEST_NAME, path / "checkpoints" / _LATEST_NAME]
    latest = [p.parent / p.read_text(encoding="utf-8").strip() for p in pointers if p.is_file()]
    return [path, *latest]


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` is damaged: {error}") from error
    if _DIGEST not in check_description(description, path):
        raise ValueError(f"`{path}` is damaged: it lacks {_DIGEST}")
    checked: dict[str, Any] = description
    return checked
