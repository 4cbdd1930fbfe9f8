"""Policies as messages, see `distill_rl.storage.framing`: weights in safetensors, never in pickle."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from distill_rl.policies.description import assemble_policy, check_description
from distill_rl.policies.loaded import LoadedPolicy
from distill_rl.storage.array_views import view_arrays
from distill_rl.storage.framing import WireError, seal, unseal

_MAGIC = b"DRLP"
_NETWORKS = "networks."
_POLICY = "policy."
_PARTS = ("encoder", "critic")


@dataclasses.dataclass(frozen=True)
class PublishedPolicy:
    """What a training publishes.

    Attributes:
      policy_version: updates behind the weights.
      description: of the policy, see `describe_policy`; its metadata name the environment.
      weights: state of the module: the policy, and what else searches need. By name. Those of a message share
        its memory, and cannot be written to.
    """

    policy_version: int
    description: dict[str, Any]
    weights: dict[str, np.ndarray]

    def to_policy(self) -> LoadedPolicy:
        """Builds the policy alone, with what it needs to act.

        Raises:
          WireError: if the weights do not fit the description.
        """
        wanted = {f"{_NETWORKS}{_POLICY}": ""}
        for part in _PARTS:
            if self.description.get(part) is not None:
                wanted[f"{_NETWORKS}{part}."] = f"{part}."
        weights = {
            new + name.removeprefix(old): torch.from_numpy(array.copy())
            for name, array in self.weights.items()
            for old, new in wanted.items()
            if name.startswith(old)
        }
        try:
            policy = assemble_policy(self.description, weights, "published policy", "published weights")
        except (TypeError, ValueError) as error:
            raise WireError(str(error)) from error
        if not isinstance(policy, LoadedPolicy):
            raise WireError(f"the published policy must be of single actions, got {self.description['kind']}")
        return policy


def encode_policy(policy_version: int, description: Mapping[str, Any], weights: Mapping[str, Any]) -> bytes:
    """Writes a policy as a message.

    Args:
      policy_version: updates behind the weights.
      description: see `describe_policy`.
      weights: state of the module, arrays or numbers by name.
    """
    header = {"policy_version": int(policy_version), "description": dict(description)}
    return seal(_MAGIC, header, _safetensors_parts(weights))


def decode_policy(message: bytes, max_bytes: int) -> PublishedPolicy:
    """Reads a message.

    Args:
      message: what came from the network.
      max_bytes: largest message that is looked into.

    Raises:
      WireError: whatever is wrong with it: weights that are not finite, too.
    """
    header, payload = unseal(_MAGIC, message, max_bytes)
    version = header.get("policy_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise WireError(f"`policy_version` must be an integer of at least 0, got {version!r:.50}")
    try:
        description = check_description(header.get("description"), "published policy")
    except (AttributeError, TypeError, ValueError) as error:
        raise WireError(f"{type(error).__name__}: {error}") from error
    weights = view_arrays(payload)
    for name, array in weights.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WireError(f"weights must be finite, got others in {name!r}")
    return PublishedPolicy(version, description, weights)


def _safetensors_parts(weights: Mapping[str, Any]) -> list[bytes | memoryview]:
    """Returns a file of safetensors in parts that copy no weight; the library's own `save` makes copies.

    Eight bytes of length, a header in JSON, then all arrays, the widest entries first: all are aligned.
    Source: "Safetensors: format", Hugging Face.
    """
    arrays = [(name, np.ascontiguousarray(value)) for name, value in weights.items()]
    arrays.sort(key=lambda item: (-item[1].itemsize, item[0]))
    entries, offset = {}, 0
    for name, array in arrays:
        is_bool = array.dtype == np.bool_
        entries[name] = {
            "dtype": "BOOL" if is_bool else f"{array.dtype.kind.upper()}{8 * array.itemsize}",
            "shape": list(np.shape(weights[name])),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    payload = [array.reshape(-1).view(np.uint8).data for _, array in arrays]
    return [len(header).to_bytes(8, "little"), header, *payload]
