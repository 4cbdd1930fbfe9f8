"""The frame of everything that crosses the network: checked before it is looked into, and never pickle.

    4 bytes   magic, the kind of message
    2 bytes   schema version, big endian
    32 bytes  sha256 of all that follows
    4 bytes   length of the header, big endian
    header    a msgpack map
    payload   raw bytes that the header describes

The digest finds damage, not forgery: who may write is the business of access lists and TLS.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

SCHEMA_VERSION = 1
MAX_HEADER_BYTES = 1 << 20

_PREFIX = struct.Struct(">4sH32s")
_LENGTH = struct.Struct(">I")


class WireError(ValueError):
    """A message from the network is damaged, of another schema, or breaks its contract."""


def seal(magic: bytes, header: Mapping[str, Any], payload: Sequence[Any]) -> bytes:
    """Frames a message.

    Args:
      magic: four bytes that name the kind of message.
      header: msgpack-able.
      payload: objects with the buffer protocol, written one after another.

    Raises:
      ValueError: if `magic` has not four bytes, or the header is larger than `MAX_HEADER_BYTES`.
    """
    if len(magic) != 4:
        raise ValueError(f"`magic` must have 4 bytes, got {magic!r}")
    packed = msgpack.packb(header)
    if len(packed) > MAX_HEADER_BYTES:
        raise ValueError(f"`header` must have at most {MAX_HEADER_BYTES} bytes, got {len(packed)}")
    body = (_LENGTH.pack(len(packed)), packed, *payload)
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    return b"".join((_PREFIX.pack(magic, SCHEMA_VERSION, digest.digest()), *body))


def unseal(magic: bytes, message: bytes, max_bytes: int) -> tuple[dict[str, Any], memoryview]:
    """Checks a frame and returns its header and its payload, which shares the memory of `message`.

    Args:
      magic: the kind of message that is expected.
      message: what came. Of a buffer that may still change, which is not `bytes`, a copy is looked into.
      max_bytes: largest message that is looked into.

    Raises:
      WireError: if the message is too large, of another kind or schema, damaged, or has no map as a header.
    """
    if len(message) > max_bytes:
        raise WireError(f"message must have at most {max_bytes} bytes, got {len(message)}")
    if len(message) < _PREFIX.size + _LENGTH.size:
        raise WireError(f"message must have at least {_PREFIX.size + _LENGTH.size} bytes, got {len(message)}")
    got_magic, version, digest = _PREFIX.unpack_from(message)
    if got_magic != magic:
        raise WireError(f"message must begin with {magic!r}, got {got_magic!r}")
    if version != SCHEMA_VERSION:
        raise WireError(f"message must have schema version {SCHEMA_VERSION}, got {version}")
    body = memoryview(bytes(message))[_PREFIX.size :]
    if hashlib.sha256(body).digest() != digest:
        raise WireError("message does not match its sha256")
    (header_bytes,) = _LENGTH.unpack_from(body)
    if header_bytes > min(MAX_HEADER_BYTES, len(body) - _LENGTH.size):
        raise WireError(f"header must fit into the message, got a length of {header_bytes}")
    payload = body[_LENGTH.size + header_bytes :]
    return _unpack_header(body[_LENGTH.size : _LENGTH.size + header_bytes]), payload


def _unpack_header(packed: memoryview) -> dict[str, Any]:
    try:
        header = msgpack.unpackb(packed)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise WireError(f"header is no msgpack: {type(error).__name__}: {error}") from error
    if not isinstance(header, dict) or not all(isinstance(key, str) for key in header):
        raise WireError(f"header must be a map with names as keys, got {type(header).__name__}")
    return header
