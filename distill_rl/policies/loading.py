"""Saved policies: `policy.safetensors` and `policy.json` in a folder, read without Ray and without pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.networks.world_model import Encoder, WorldModelConfig
from distill_rl.policies.chunk import ChunkPolicy
from distill_rl.policies.kinds import (
    ALL_POLICY_KINDS,
    CHUNK_POLICY_KINDS,
    Policy,
    architecture_of,
    kind_of,
    make_chunk_policy,
    make_policy,
)
from distill_rl.policies.loaded import LoadedChunkPolicy, LoadedPolicy

FORMAT_VERSION = 3
"""1 had no encoders, 2 only consistency policies of one backbone, and no critics."""

_WEIGHTS_NAME = "policy.safetensors"
_DESCRIPTION_NAME = "policy.json"
_LATEST_NAME = "latest"
_ENCODER_PREFIX = "encoder."
_ENCODER = ("observation_size", "latent_size", "group_size", "model_hidden_sizes")
_CRITIC_PREFIX = "critic."
_CRITIC = ("observation_size", "action_size", "hidden_sizes", "num_members")
_LATER = "backbone"
"""What an architecture may lack, since files before version 3 do."""


def save_policy(
    policy: Policy | ChunkPolicy,
    path: str | Path,
    metadata: dict[str, Any],
    encoder: Encoder | None = None,
    critic: QEnsemble | None = None,
) -> Path:
    """Writes a policy into a folder.

    Args:
      policy: the network, with its normaliser.
      path: folder; made if missing. Not atomic: write into a temporary folder where that matters.
      metadata: JSON-able facts to keep beside the weights (environment id, action repeat, ...).
      encoder: of the observations, if the policy acts in latent states.
      critic: values of actions, if they choose among candidates.

    Returns:
      The folder.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    state = policy.state_dict()
    for prefix, part in ((_ENCODER_PREFIX, encoder), (_CRITIC_PREFIX, critic)):
        if part is not None:
            state |= {prefix + name: tensor for name, tensor in part.state_dict().items()}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content = safetensors.torch.save(weights)
    description = describe_policy(policy, metadata, encoder, critic)
    description["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / _WEIGHTS_NAME).write_bytes(content)
    (folder / _DESCRIPTION_NAME).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder


def describe_policy(
    policy: Policy | ChunkPolicy,
    metadata: dict[str, Any],
    encoder: Encoder | None = None,
    critic: QEnsemble | None = None,
) -> dict[str, Any]:
    """Returns all of a policy but its weights, JSON-able; see `save_policy` for the arguments."""
    kind = kind_of(policy)
    return {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "architecture": {name: getattr(policy, name) for name in architecture_of(kind)},
        "encoder": None if encoder is None else _describe_encoder(encoder),
        "critic": None if critic is None else {name: getattr(critic, name) for name in _CRITIC},
        "metadata": metadata,
    }


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
    if digest != description["weights_sha256"]:
        raise ValueError(
            f"`{weights_path}` is damaged: expected sha256 {description['weights_sha256']}, got {digest}"
        )
    try:
        weights = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"`{weights_path}` does not fit {_DESCRIPTION_NAME}: {error}") from error
    return assemble_policy(description, weights, folder / _DESCRIPTION_NAME, weights_path)


def assemble_policy(
    description: dict[str, Any],
    weights: dict[str, torch.Tensor],
    description_source: str | Path,
    weights_source: str | Path,
) -> LoadedPolicy | LoadedChunkPolicy:
    """Builds a policy from its parts.

    Args:
      description: as `describe_policy` returns it, and checked with `check_description`.
      weights: of the policy, under `encoder.` of its encoder, and under `critic.` of its critic.
      description_source: where the description comes from, for messages.
      weights_source: where the weights come from, for messages.

    Raises:
      ValueError: if they do not fit each other.
    """
    policy = _build_policy(description, description_source)
    encoder = _build_encoder(description.get("encoder"))
    critic = _build_critic(description.get("critic"), description_source)
    try:
        for prefix, part in ((_ENCODER_PREFIX, encoder), (_CRITIC_PREFIX, critic)):
            own = {name: weights.pop(name) for name in list(weights) if name.startswith(prefix)}
            if (part is None) != (not own):
                only = f"only one of them has the {prefix.rstrip('.')}"
                raise ValueError(f"`{weights_source}` does not fit {Path(description_source).name}: {only}")
            if part is not None:
                part.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in own.items()})
                part.eval().requires_grad_(False)
        policy.load_state_dict(weights)
    except RuntimeError as error:
        fitted = Path(description_source).name
        raise ValueError(f"`{weights_source}` does not fit {fitted}: {error}") from error
    policy.eval().requires_grad_(False)
    if isinstance(policy, ChunkPolicy):
        return LoadedChunkPolicy(policy, description["metadata"])
    return LoadedPolicy(policy, description["metadata"], encoder, critic)


def _build_policy(description: dict[str, Any], path: str | Path) -> Policy | ChunkPolicy:
    """Takes known fields only; what is missing was not there in files of older versions."""
    kind, architecture = description["kind"], description["architecture"]
    known = {name: architecture[name] for name in architecture_of(kind) if name in architecture}
    try:
        return (make_chunk_policy if kind in CHUNK_POLICY_KINDS else make_policy)(kind, **known)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"`{path}` is damaged: {error}") from error


def _describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Returns what the encoder is built from; how its model was trained does not matter any more."""
    settings = {name: getattr(encoder.config, name) for name in _ENCODER[1:]}
    return {"observation_size": encoder.observation_size, **settings}


def _build_encoder(description: dict[str, Any] | None) -> Encoder | None:
    if description is None:
        return None
    settings = WorldModelConfig(**{name: description[name] for name in _ENCODER[1:]})
    return Encoder(description["observation_size"], settings)


def _build_critic(description: dict[str, Any] | None, path: str | Path) -> QEnsemble | None:
    if description is None:
        return None
    try:
        return QEnsemble(**{name: description[name] for name in _CRITIC})
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"`{path}` is damaged: {error}") from error


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
    return check_description(description, path, with_digest=True)


def check_description(description: Any, path: str | Path, with_digest: bool = False) -> dict[str, Any]:
    """Checks that a description has all that a policy is built from, and returns it.

    Args:
      description: what was read.
      path: where it comes from, for messages.
      with_digest: whether the digest of the weights must be in it.

    Raises:
      ValueError: if it is of a newer format, of an unknown kind, or lacks something.
    """
    version = description.get("format_version") if isinstance(description, dict) else None
    if version not in range(1, FORMAT_VERSION + 1):
        raise ValueError(f"`{path}` must have a format version up to {FORMAT_VERSION}, got {version}")
    kind = description.setdefault("kind", "consistency")
    if kind not in ALL_POLICY_KINDS:
        raise ValueError(f"`{path}` must hold a policy of kind {', '.join(ALL_POLICY_KINDS)}, got {kind!r}")
    fields = ("architecture", "metadata", *(("weights_sha256",) if with_digest else ()))
    missing = [name for name in fields if name not in description]
    needed = [name for name in architecture_of(kind) if name != _LATER]
    missing += [name for name in needed if name not in description.get("architecture", {})]
    for part, names in (("encoder", _ENCODER), ("critic", _CRITIC)):
        held = description.get(part)
        missing += [f"{part} {name}" for name in names if held is not None and name not in held]
    if missing:
        raise ValueError(f"`{path}` is damaged: it lacks {', '.join(missing)}")
    return description
