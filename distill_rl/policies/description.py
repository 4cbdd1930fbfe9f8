"""Policies as plain data and weights by name: what is saved in files, and sent in messages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

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

_ENCODER = ("observation_size", "latent_size", "group_size", "model_hidden_sizes")
_CRITIC = ("observation_size", "action_size", "hidden_sizes", "num_members")
_LATER = "backbone"
"""What an architecture may lack, since files before version 3 do."""

Part = TypeVar("Part")


def describe_policy(
    policy: Policy | ChunkPolicy,
    metadata: dict[str, Any],
    encoder: Encoder | None = None,
    critic: QEnsemble | None = None,
) -> dict[str, Any]:
    """Returns all of a policy but its weights, JSON-able.

    Args:
      policy: the network, with its normaliser.
      metadata: JSON-able facts to keep beside the weights (environment id, action repeat, ...).
      encoder: of the observations, if the policy acts in latent states.
      critic: values of actions, if they choose among candidates.

    Raises:
      ValueError: if the policy is of no known kind.
    """
    kind = kind_of(policy)
    return {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "architecture": {name: getattr(policy, name) for name in architecture_of(kind)},
        "encoder": None if encoder is None else _describe_encoder(encoder),
        "critic": None if critic is None else {name: getattr(critic, name) for name in _CRITIC},
        "metadata": metadata,
    }


def weights_of(
    policy: Policy | ChunkPolicy, encoder: Encoder | None = None, critic: QEnsemble | None = None
) -> dict[str, torch.Tensor]:
    """Returns weights by name: of the policy, and under `encoder.` and `critic.` of the two.

    Args:
      policy: see `describe_policy`.
      encoder: see `describe_policy`.
      critic: see `describe_policy`.

    Returns:
      On the CPU.
    """
    weights = policy.state_dict()
    for name, part in (("encoder", encoder), ("critic", critic)):
        if part is not None:
            weights |= {f"{name}.{own}": tensor for own, tensor in part.state_dict().items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}


def check_description(description: Any, path: str | Path) -> dict[str, Any]:
    """Checks that a description has all that a policy is built from, and returns it.

    Args:
      description: what was read.
      path: where it comes from, for messages.

    Raises:
      ValueError: if it is of a newer format, of an unknown kind, or lacks something.
    """
    version = description.get("format_version") if isinstance(description, dict) else None
    if version not in range(1, FORMAT_VERSION + 1):
        raise ValueError(f"`{path}` must have a format version up to {FORMAT_VERSION}, got {version}")
    kind = description.setdefault("kind", "consistency")
    if kind not in ALL_POLICY_KINDS:
        raise ValueError(f"`{path}` must hold a policy of kind {', '.join(ALL_POLICY_KINDS)}, got {kind!r}")
    missing = [name for name in ("architecture", "metadata") if description.get(name) is None]
    for name in ("architecture", "metadata", "encoder", "critic"):
        part = description.get(name)
        if part is not None and not isinstance(part, dict):
            raise ValueError(f"`{path}` is damaged: {name} must be a map, got {type(part).__name__}")
    needed = [name for name in architecture_of(kind) if name != _LATER]
    missing += [name for name in needed if name not in (description.get("architecture") or {})]
    for name, fields in (("encoder", _ENCODER), ("critic", _CRITIC)):
        part = description.get(name)
        missing += [f"{name} {field}" for field in fields if part is not None and field not in part]
    if missing:
        raise ValueError(f"`{path}` is damaged: it lacks {', '.join(missing)}")
    return description


def assemble_policy(
    description: dict[str, Any],
    weights: dict[str, torch.Tensor],
    description_source: str | Path,
    weights_source: str | Path,
) -> LoadedPolicy | LoadedChunkPolicy:
    """Builds a policy from its parts.

    Args:
      description: as `describe_policy` returns it, and checked with `check_description`.
      weights: as `weights_of` returns them.
      description_source: where the description comes from, for messages.
      weights_source: where the weights come from, for messages.

    Raises:
      ValueError: if they do not fit each other.
    """

    def build(name: str, build_fn: Callable[[dict[str, Any]], Part]) -> Part | None:
        if description.get(name) is None:
            return None
        try:
            return build_fn(description[name])
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"`{description_source}` is damaged: {error}") from error

    policy = build("architecture", lambda architecture: _build_policy(description["kind"], architecture))
    assert policy is not None
    encoder, critic = build("encoder", _build_encoder), build("critic", _build_critic)
    misfit = f"`{weights_source}` does not fit {Path(description_source).name}"
    left = dict(weights)
    try:
        for name, part in (("encoder", encoder), ("critic", critic)):
            names = [key for key in weights if key.startswith(f"{name}.")]
            own = {key.removeprefix(f"{name}."): left.pop(key) for key in names}
            if (part is None) != (not own):
                raise ValueError(f"{misfit}: only one of them has the {name}")
            if part is not None:
                part.load_state_dict(own)
                part.eval().requires_grad_(False)
        policy.load_state_dict(left)
    except RuntimeError as error:
        raise ValueError(f"{misfit}: {error}") from error
    policy.eval().requires_grad_(False)
    if isinstance(policy, ChunkPolicy):
        return LoadedChunkPolicy(policy, description["metadata"])
    return LoadedPolicy(policy, description["metadata"], encoder, critic)


def _build_policy(kind: str, architecture: dict[str, Any]) -> Policy | ChunkPolicy:
    """Takes known fields only; what is missing was not there in files of older versions."""
    known = {name: architecture[name] for name in architecture_of(kind) if name in architecture}
    return (make_chunk_policy if kind in CHUNK_POLICY_KINDS else make_policy)(kind, **known)


def _describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Returns what the encoder is built from; how its model was trained does not matter any more."""
    settings = {name: getattr(encoder.config, name) for name in _ENCODER[1:]}
    return {"observation_size": encoder.observation_size, **settings}


def _build_encoder(description: dict[str, Any]) -> Encoder:
    settings = WorldModelConfig(**{name: description[name] for name in _ENCODER[1:]})
    return Encoder(description["observation_size"], settings)


def _build_critic(description: dict[str, Any]) -> QEnsemble:
    return QEnsemble(**{name: description[name] for name in _CRITIC})
