"""Arrays by name, read from safetensors without copying any: the library's own `load` copies each.

Eight bytes of length, little endian; a header in JSON with the dtype, shape and place of each array; then the
arrays.
Source: "Safetensors: format", Hugging Face.
"""

import json
import math
import struct
from typing import Any

import numpy as np

from distill_rl.storage.framing import WireError

_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"
_MAX_NAME_LENGTH = 200
_MAX_COUNT = 2**53
_MAX_RANK = 8
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"{kind.upper()}{8 * size}": np.dtype(f"<{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}


def view_arrays(content: memoryview) -> dict[str, np.ndarray]:
    """Returns the arrays of a file of safetensors.

    Args:
      content: the whole file. Bytes that do not change: the arrays are views of them.

    Returns:
      Arrays by name, which cannot be written to.

    Raises:
      WireError: if the header is damaged, or claims what `content` does not hold.
    """
    header_bytes = _LENGTH.unpack_from(content)[0] if len(content) >= _LENGTH.size else 0
    if not 0 < header_bytes <= len(content) - _LENGTH.size:
        raise WireError(f"header of the weights must fit into {len(content)} bytes, got {header_bytes}")
    data = content[_LENGTH.size + header_bytes :].toreadonly()
    header = _read_header(content[_LENGTH.size : _LENGTH.size + header_bytes])
    arrays = {name: _view(name, entry, data) for name, entry in header.items() if name != _METADATA}
    num_bytes = sum(array.nbytes for array in arrays.values())
    if num_bytes != len(data):
        raise WireError(f"weights must have the {num_bytes} bytes of their arrays, got {len(data)}")
    return arrays


def _read_header(packed: memoryview) -> dict[str, Any]:
    try:
        header = json.loads(bytes(packed))
    except (ValueError, RecursionError) as error:
        raise WireError(f"header of the weights is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise WireError(f"header of the weights must be a map, got {type(header).__name__}")
    return header


def _view(name: str, entry: Any, data: memoryview) -> np.ndarray:
    """Returns an array; claims are checked before anything is made of them."""
    described = f"array {name[:_MAX_NAME_LENGTH]!r}"
    if not isinstance(entry, dict):
        raise WireError(f"{described} must be described by a map, got {type(entry).__name__}")
    code = entry.get("dtype")
    if not isinstance(code, str) or code not in _DTYPES:
        raise WireError(f"weights must have dtypes that numpy has, got {code!r:.50}")
    shape, place = (_get_counts(entry, name, described) for name in ("shape", "data_offsets"))
    if len(place) != 2 or not place[0] <= place[1] <= len(data):
        raise WireError(f"{described} must have two offsets within {len(data)} bytes, got {place}")
    num_bytes = math.prod(shape) * _DTYPES[code].itemsize
    if place[1] - place[0] != num_bytes:
        raise WireError(
            f"{described} must have the {num_bytes} bytes of its shape, got {place[1] - place[0]}"
        )
    try:
        return np.ndarray(shape, _DTYPES[code], data, place[0])
    except ValueError as error:  # lengths beside a zero whose product no integer holds
        raise WireError(f"{described} cannot have its shape: {error}") from error


def _get_counts(entry: dict[str, Any], name: str, described: str) -> list[int]:
    counts = entry.get(name)
    if not (
        isinstance(counts, list)
        and len(counts) <= _MAX_RANK
        and all(type(count) is int and 0 <= count < _MAX_COUNT for count in counts)
    ):
        raise WireError(f"{described} must have up to {_MAX_RANK} counts as `{name}`, got {counts!r:.50}")
    return counts
