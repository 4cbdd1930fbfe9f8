"""Saved policies: `policy.safetensors` and `policy.json` in a folder, read without Ray and without pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.networks.world_model import Encoder, WorldModelConfig
from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.kinds import POLICY_KINDS, Policy, architecture_of, kind_of, make_policy

FORMAT_VERSION = 3
"""1 had no encoders, 2 only consistency policies of one backbone, and no critics."""

_WEIGHTS_NAME = "policy.safetensors"
_DESCRIPTION_NAME = "policy.json"
_SUBFOLDER = "policy"
_LATEST_NAME = "latest"
_ENCODER_PREFIX = "encoder."
_ENCODER = ("observation_size", "latent_size", "group_size", "model_hidden_sizes")
_CRITIC_PREFIX = "critic."
_CRITIC = ("observation_size", "action_size", "hidden_sizes", "num_members")
_ACTING = {"num_steps": 1, "noise_scale": 0.0, "num_candidates": 1}
_LATER = "backbone"
"""What an architecture may lack, since files before version 3 do."""


class LoadedPolicy:
    """A policy that acts on numpy observations.

    Args:
      policy: the network.
      metadata: what was saved beside it (environment id, action repeat, ...).
      encoder: maps observations to what the policy is conditioned on; None for observations themselves.
      critic: values of actions, for acting by the best of several candidates; None if there is none.
    """

    def __init__(
        self,
        policy: Policy,
        metadata: dict[str, Any],
        encoder: Encoder | None = None,
        critic: QEnsemble | None = None,
    ):
        self.policy = policy
        self.metadata = metadata
        self.encoder = encoder
        self.critic = critic
        self._generator = torch.Generator().manual_seed(0)

    def act(
        self,
        observation: np.ndarray,
        num_steps: int | None = None,
        noise_scale: float | None = None,
        seed: int | None = None,
        num_candidates: int | None = None,
    ) -> np.ndarray:
        """Draws actions.

        How a policy acts unless told otherwise is among its metadata (`acting`), and without that one step
        of one candidate without noise.

        Args:
          observation: shape `[O]` or `[B, O]`.
          num_steps: network calls for each action of a consistency policy.
          noise_scale: 0 gives the mode-like action, 1 the full distribution.
          seed: of this call's noise; None goes on with the policy's own stream, which starts at seed 0.
          num_candidates: actions sampled, of which the critic chooses one, see `act_by_value`.

        Returns:
          Actions in [-1, 1]. Shape `[A]` or `[B, A]`, float32.

        Raises:
          ValueError: if the observation has the wrong shape, or there is no critic to choose.
        """
        rows = np.array(observation, np.float32)  # a copy: what is mapped from a file cannot be a tensor
        size = (self.encoder or self.policy).observation_size
        if rows.ndim not in (1, 2) or rows.shape[-1] != size:
            raise ValueError(f"`observation` must have shape [{size}] or [B, {size}], got {list(rows.shape)}")
        asked = {"num_steps": num_steps, "noise_scale": noise_scale, "num_candidates": num_candidates}
        acting = _ACTING | self.metadata.get("acting", {})
        acting |= {name: value for name, value in asked.items() if value is not None}
        generator = self._generator if seed is None else torch.Generator().manual_seed(seed)
        seen = torch.from_numpy(np.atleast_2d(rows))
        if self.encoder is not None:
            seen = self.encoder(seen)
        num_candidates = acting.pop("num_candidates")
        if num_candidates == 1:
            actions = self.policy.act(seen, **acting, generator=generator)
        elif self.critic is None:
            raise ValueError(f"`num_candidates` must be 1 without a critic, got {num_candidates}")
        else:
            actions = act_by_value(
                self.policy, self.critic, seen, num_candidates, **acting, generator=generator
            )
        return actions.numpy().reshape(*rows.shape[:-1], self.policy.action_size)


def save_policy(
    policy: Policy,
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
    policy: Policy, metadata: dict[str, Any], encoder: Encoder | None = None, critic: QEnsemble | None = None
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


def load_policy(path: str | Path) -> LoadedPolicy:
    """Reads a policy saved by `save_policy`.

    Args:
      path: its folder, a checkpoint, or a run folder (its latest checkpoint).

    Raises:
      ValueError: if there is no policy, it is of a newer format, or a file is damaged; the message names the
        file.
    """
    folder = find_policy_folder(path)
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
) -> LoadedPolicy:
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
    return LoadedPolicy(policy.eval().requires_grad_(False), description["metadata"], encoder, critic)


def _build_policy(description: dict[str, Any], path: str | Path) -> Policy:
    """Takes known fields only; what is missing was not there in files of older versions."""
    kind, architecture = description["kind"], description["architecture"]
    known = {name: architecture[name] for name in architecture_of(kind) if name in architecture}
    try:
        return make_policy(kind, **known)
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


def find_policy_folder(path: str | Path) -> Path:
    """Finds the folder of a policy from that folder, a checkpoint, a `checkpoints` folder or a run folder.

    Raises:
      ValueError: if none is found.
    """
    path = Path(path)
    for root in (path, *_latest_checkpoints(path)):
        for folder in (root, root / _SUBFOLDER):
            if (folder / _DESCRIPTION_NAME).is_file():
                return folder
    raise ValueError(
        f"`{path}` must hold a policy ({_DESCRIPTION_NAME}) or a run with a checkpoint, got neither there"
    )


def _latest_checkpoints(path: Path) -> list[Path]:
    """Follows the `latest` pointers: one line with the name of the newest checkpoint beside it."""
    pointers = [path / _LATEST_NAME, path / "checkpoints" / _LATEST_NAME]
    return [p.parent / p.read_text(encoding="utf-8").strip() for p in pointers if p.is_file()]


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
    if kind not in POLICY_KINDS:
        raise ValueError(f"`{path}` must hold a policy of kind {', '.join(POLICY_KINDS)}, got {kind!r}")
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
