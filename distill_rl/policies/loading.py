"""Saved policies: `policy.safetensors` and `policy.json` in a folder, read without Ray and without pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from distill_rl.networks.world_model import Encoder, WorldModelConfig
from distill_rl.policies.consistency import ConsistencyPolicy

FORMAT_VERSION = 2
"""1 had no encoders."""

_WEIGHTS_NAME = "policy.safetensors"
_DESCRIPTION_NAME = "policy.json"
_SUBFOLDER = "policy"
_LATEST_NAME = "latest"
_ENCODER_PREFIX = "encoder."
_ENCODER = ("observation_size", "latent_size", "group_size", "model_hidden_sizes")
_ARCHITECTURE = ("observation_size", "action_size", "hidden_sizes", "sigma_min", "sigma_max", "sigma_data")


class LoadedPolicy:
    """A policy that acts on numpy observations.

    Args:
      policy: the network.
      metadata: what was saved beside it (environment id, action repeat, ...).
      encoder: maps observations to what the policy is conditioned on; None for observations themselves.
    """

    def __init__(self, policy: ConsistencyPolicy, metadata: dict[str, Any], encoder: Encoder | None = None):
        self.policy = policy
        self.metadata = metadata
        self.encoder = encoder
        self._generator = torch.Generator().manual_seed(0)

    def act(
        self,
        observation: np.ndarray,
        num_steps: int = 1,
        noise_scale: float = 0.0,
        seed: int | None = None,
    ) -> np.ndarray:
        """Draws actions.

        Args:
          observation: shape `[O]` or `[B, O]`.
          num_steps: network calls for each action.
          noise_scale: 0 gives the mode-like action, 1 the full distribution.
          seed: of this call's noise; None goes on with the policy's own stream, which starts at seed 0.

        Returns:
          Actions in [-1, 1]. Shape `[A]` or `[B, A]`, float32.

        Raises:
          ValueError: if the observation has the wrong shape.
        """
        rows = np.asarray(observation, np.float32)
        size = (self.encoder or self.policy).observation_size
        if rows.ndim not in (1, 2) or rows.shape[-1] != size:
            raise ValueError(f"`observation` must have shape [{size}] or [B, {size}], got {list(rows.shape)}")
        generator = self._generator if seed is None else torch.Generator().manual_seed(seed)
        seen = torch.from_numpy(np.atleast_2d(rows))
        if self.encoder is not None:
            seen = self.encoder(seen)
        actions = self.policy.act(seen, num_steps, noise_scale, generator)
        return actions.numpy().reshape(*rows.shape[:-1], self.policy.action_size)


def save_policy(
    policy: ConsistencyPolicy,
    path: str | Path,
    metadata: dict[str, Any],
    encoder: Encoder | None = None,
) -> Path:
    """Writes a policy into a folder.

    Args:
      policy: the network, with its normaliser.
      path: folder; made if missing. Not atomic: write into a temporary folder where that matters.
      metadata: JSON-able facts to keep beside the weights (environment id, action repeat, ...).
      encoder: of the observations, if the policy acts in latent states.

    Returns:
      The folder.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    state = policy.state_dict()
    if encoder is not None:
        state |= {_ENCODER_PREFIX + name: tensor for name, tensor in encoder.state_dict().items()}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content = safetensors.torch.save(weights)
    description = {
        "format_version": FORMAT_VERSION,
        "architecture": {name: getattr(policy, name) for name in _ARCHITECTURE},
        "encoder": None if encoder is None else _describe_encoder(encoder),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "metadata": metadata,
    }
    (folder / _WEIGHTS_NAME).write_bytes(content)
    (folder / _DESCRIPTION_NAME).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder


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
    policy = ConsistencyPolicy(**{name: description["architecture"][name] for name in _ARCHITECTURE})
    encoder = _build_encoder(description.get("encoder"))
    try:
        weights = safetensors.torch.load(content)
        of_encoder = {name: weights.pop(name) for name in list(weights) if name.startswith(_ENCODER_PREFIX)}
        policy.load_state_dict(weights)
        if (encoder is None) != (not of_encoder):
            raise ValueError(f"`{weights_path}` does not fit {_DESCRIPTION_NAME}: one of them has an encoder")
        if encoder is not None:
            encoder.load_state_dict({n.removeprefix(_ENCODER_PREFIX): of_encoder[n] for n in of_encoder})
            encoder.eval().requires_grad_(False)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(f"`{weights_path}` does not fit {_DESCRIPTION_NAME}: {error}") from error
    return LoadedPolicy(policy.eval().requires_grad_(False), description["metadata"], encoder)


def _describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Returns what the encoder is built from; how its model was trained does not matter any more."""
    settings = {name: getattr(encoder.config, name) for name in _ENCODER[1:]}
    return {"observation_size": encoder.observation_size, **settings}


def _build_encoder(description: dict[str, Any] | None) -> Encoder | None:
    if description is None:
        return None
    settings = WorldModelConfig(**{name: description[name] for name in _ENCODER[1:]})
    return Encoder(description["observation_size"], settings)


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
    version = description.get("format_version") if isinstance(description, dict) else None
    if version not in (1, FORMAT_VERSION):
        raise ValueError(f"`{path}` must have a format version up to {FORMAT_VERSION}, got {version}")
    missing = [name for name in ("architecture", "weights_sha256", "metadata") if name not in description]
    missing += [name for name in _ARCHITECTURE if name not in description.get("architecture", {})]
    encoder = description.get("encoder")
    missing += [f"encoder {name}" for name in _ENCODER if encoder is not None and name not in encoder]
    if missing:
        raise ValueError(f"`{path}` is damaged: it lacks {', '.join(missing)}")
    return description
