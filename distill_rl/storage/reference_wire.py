"""Batches of reference sets as messages, see `distill_rl.storage.framing`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill_rl.collected import Collected, EpisodeRecord
from distill_rl.storage.framing import WireError, seal, unseal
from distill_rl.types import ReferenceSet

_MAGIC = b"DRLR"
_DTYPES: dict[str, np.dtype] = {"f2": np.dtype("<f2"), "f4": np.dtype("<f4"), "f8": np.dtype("<f8")}
_COUNTERS = ("num_env_steps", "num_simulator_steps", "num_dropped_episodes")
_ACTED_BY = ("search", "student", "mixed")
_MAX_COUNT = 2**53
_MAX_RANK = 4
_MAX_NAME_LENGTH = 200


@dataclasses.dataclass(frozen=True)
class ReferenceBatch:
    """What one message holds.

    Attributes:
      actor_id: who sends; unlike every other actor's, also its own before a restart.
      sequence: number of the message, counted by the actor from 0.
      collected: fragments, oldest first.
      num_dropped_sets: reference sets that the actor gave up so far, instead of sending them.
    """

    actor_id: str
    sequence: int
    collected: tuple[Collected, ...]
    num_dropped_sets: int = 0


def encode_batch(batch: ReferenceBatch) -> bytes:
    """Writes a batch, whose sets keep the contract of `ReferenceSet`, as a message."""
    payload: list[Any] = []
    fragments = [_encode_fragment(collected, payload) for collected in batch.collected]
    header = {
        "actor_id": batch.actor_id,
        "sequence": batch.sequence,
        "num_dropped_sets": batch.num_dropped_sets,
        "fragments": fragments,
    }
    return seal(_MAGIC, header, payload)


def decode_batch(message: bytes, max_bytes: int) -> ReferenceBatch:
    """Reads a message, and checks every set in it against the contract of `ReferenceSet`.

    Args:
      message: what came from the network.
      max_bytes: largest message that is looked into.

    Returns:
      The batch; its arrays cannot be written to, and share the memory of `message`.

    Raises:
      WireError: whatever is wrong with the message.
    """
    header, payload = unseal(_MAGIC, message, max_bytes)
    actor_id = _get(header, "actor_id", str)
    if not 0 < len(actor_id) <= _MAX_NAME_LENGTH:
        raise WireError(f"`actor_id` must have 1 to {_MAX_NAME_LENGTH} characters, got {len(actor_id)}")
    collected, offset = [], 0
    for fragment in _get(header, "fragments", list):
        decoded, offset = _decode_fragment(fragment, payload, offset)
        collected.append(decoded)
    if offset != len(payload):
        raise WireError(f"payload must have the {offset} bytes of its arrays, got {len(payload)}")
    if not collected:
        raise WireError("`fragments` must hold at least one, got none")
    return ReferenceBatch(
        actor_id,
        _get_count(header, "sequence"),
        tuple(collected),
        num_dropped_sets=_get_count(header, "num_dropped_sets"),
    )


def _encode_fragment(collected: Collected, payload: list[Any]) -> dict[str, Any]:
    """Describes a fragment, and appends its arrays to `payload`."""
    reference_set = collected.reference_set
    arrays = []
    for name, array in reference_set.to_arrays().items():
        array = np.ascontiguousarray(array)
        code = array.dtype.str[1:]
        payload.append(array.astype(_DTYPES[code], copy=False).data.cast("B") if array.size else b"")
        arrays.append([name, code, list(array.shape)])
    return {
        **{name: int(getattr(collected, name)) for name in _COUNTERS},
        "policy_version": int(reference_set.policy_version),
        "convention": reference_set.convention,
        "metrics": {name: float(value) for name, value in collected.metrics.items()},
        "episodes": [
            [float(e.episode_return), int(e.num_steps), float(e.duration_sec), e.acted_by, bool(e.terminated)]
            for e in collected.episodes
        ],
        "arrays": arrays,
    }


def _decode_fragment(fragment: Any, payload: memoryview, offset: int) -> tuple[Collected, int]:
    """Returns a fragment, and where its arrays end in `payload`."""
    if not isinstance(fragment, dict):
        raise WireError(f"a fragment must be a map, got {type(fragment).__name__}")
    arrays: dict[str, np.ndarray] = {}
    for described in _get(fragment, "arrays", list):
        name, array, offset = _decode_array(described, payload, offset)
        if name in arrays:
            raise WireError(f"array {name[:_MAX_NAME_LENGTH]!r} must come once, got it twice")
        arrays[name] = array
    try:
        convention: Any = _get(fragment, "convention", str)
        reference_set = ReferenceSet.from_arrays(
            arrays, _get_count(fragment, "policy_version"), convention
        ).validate()
    except WireError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"reference set breaks its contract: {type(error).__name__}: {error}") from error
    unknown = arrays.keys() - reference_set.to_arrays().keys()
    if unknown:
        raise WireError(
            f"a reference set must have known arrays alone, got {min(unknown)[:_MAX_NAME_LENGTH]!r}"
        )
    return (
        Collected(
            reference_set=reference_set,
            episodes=[_decode_episode(episode) for episode in _get(fragment, "episodes", list)],
            metrics=_decode_metrics(_get(fragment, "metrics", dict)),
            **{name: _get_count(fragment, name) for name in _COUNTERS},
        ),
        offset,
    )


def _decode_array(described: Any, payload: memoryview, offset: int) -> tuple[str, np.ndarray, int]:
    """Returns name, array and the end of an array; claims are checked before anything is made of them."""
    if not isinstance(described, list) or len(described) != 3:
        raise WireError("an array must be described by name, dtype and shape")
    name, code, shape = described
    if not isinstance(name, str) or not isinstance(code, str) or code not in _DTYPES:
        raise WireError(f"an array must have a name and a dtype of {', '.join(_DTYPES)}, got {code!r:.50}")
    if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(_is_count(n) for n in shape):
        raise WireError(f"a shape must be a list of up to {_MAX_RANK} lengths")
    dtype, size = _DTYPES[code], math.prod(shape)
    end = offset + size * dtype.itemsize
    if end > len(payload):
        raise WireError(f"array {name[:_MAX_NAME_LENGTH]!r} must end within {len(payload)} bytes, got {end}")
    flat = np.frombuffer(payload[offset:end], dtype) if size else np.zeros(0, dtype)
    try:
        return name, flat.reshape(shape), end
    except ValueError as error:  # lengths beside a zero whose product no integer holds
        raise WireError(f"array {name[:_MAX_NAME_LENGTH]!r} cannot have its shape: {error}") from error


def _decode_episode(episode: Any) -> EpisodeRecord:
    if not isinstance(episode, list) or len(episode) != 5:
        raise WireError("an episode must be a list of five items")
    episode_return, num_steps, duration_sec, acted_by, terminated = episode
    if not (_is_finite(episode_return) and _is_count(num_steps) and _is_finite(duration_sec)):
        raise WireError("an episode must have a finite return and duration and a number of steps")
    if not isinstance(acted_by, str) or acted_by not in _ACTED_BY or not isinstance(terminated, bool):
        raise WireError(f"an episode must be acted by one of {', '.join(_ACTED_BY)}")
    return EpisodeRecord(
        episode_return=episode_return,
        num_steps=num_steps,
        duration_sec=duration_sec,
        acted_by=acted_by,  # type: ignore[arg-type]
        terminated=terminated,
    )


def _decode_metrics(metrics: Mapping[Any, Any]) -> dict[str, float]:
    for name, value in metrics.items():
        if not isinstance(name, str) or not isinstance(value, float):
            raise WireError("`metrics` must map names to floating-point numbers")
    return dict(metrics)


def _get(header: Mapping[str, Any], name: str, kind: type) -> Any:
    value = header.get(name)
    if not isinstance(value, kind):
        raise WireError(f"`{name}` must be {kind.__name__}, got {type(value).__name__}")
    return value


def _get_count(header: Mapping[str, Any], name: str) -> int:
    value = header.get(name)
    if not _is_count(value):
        raise WireError(f"`{name}` must be an integer of at least 0, got {value!r:.50}")
    assert isinstance(value, int)
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def payload_bytes(collected: Sequence[Collected]) -> int:
    """Returns the bytes of all arrays of some fragments."""
    return sum(
        array.nbytes for fragment in collected for array in fragment.reference_set.to_arrays().values()
    )
