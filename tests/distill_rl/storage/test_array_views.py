"""Weights as views of a message: what the library writes is read, and no claim is believed."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from distill_rl.storage.array_views import view_arrays
from distill_rl.storage.framing import WireError

_ARRAYS = {
    "half": np.arange(3, dtype=np.float16),
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "double": np.linspace(0.0, 1.0, 5),
    "empty": np.zeros((0, 2), np.float32),
    "flag": np.array([True, False, True]),
    "byte": np.arange(5, dtype=np.uint8),
    "count": np.array(7),
}
_FILE = safetensors.numpy.save(_ARRAYS, {"note": "of the writer"})


def _pack(entries, data=b""):
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return memoryview(len(header).to_bytes(8, "little") + header + data)


def _entry(dtype="F32", shape=(2,), place=(0, 8)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}}


@pytest.mark.parametrize("shift", range(8))
def test_arrays_are_read_as_the_library_wrote_them(shift):
    """Names, dtypes, shapes and values are those of the writer, wherever in memory the file begins."""
    found = view_arrays(memoryview(bytes(shift) + _FILE)[shift:])
    assert found.keys() == _ARRAYS.keys()
    for name, expected in _ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_arrays_share_the_memory_and_cannot_be_written_to(kind):
    """No array is a copy, and none may be written to, even if the memory may."""
    content = kind(_FILE)
    memory = np.frombuffer(content, np.uint8)
    for array in view_arrays(memoryview(content)).values():
        assert not array.flags.writeable
        assert not array.size or np.shares_memory(array, memory)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (memoryview(b""), "header of the weights must fit into 0 bytes, got 0"),
        (memoryview(b"1234567"), "header of the weights must fit into 7 bytes, got 0"),
        (memoryview((1 << 40).to_bytes(8, "little") + b"{}"), "must fit into 10 bytes, got 1099511627776"),
        (_pack(b"\xff{"), "is no JSON"),
        (_pack(b"[" * 100_000), "is no JSON"),
        (_pack([]), "header of the weights must be a map, got list"),
        (_pack({"w": 3}), "array 'w' must be described by a map, got int"),
        (_pack({"w": {}}), "dtypes that numpy has, got None"),
        (_pack(_entry("BF16"), bytes(8)), "dtypes that numpy has, got 'BF16'"),
        (_pack(_entry(shape=[True, 2]), bytes(8)), "up to 8 counts as `shape`"),
        (_pack(_entry(shape=[-2]), bytes(8)), "up to 8 counts as `shape`"),
        (_pack(_entry(shape=[1] * 8 + [2]), bytes(8)), "up to 8 counts as `shape`"),
        (_pack(_entry(shape=[2**53]), bytes(8)), "up to 8 counts as `shape`"),
        (_pack(_entry(shape=[3]), bytes(8)), "must have the 12 bytes of its shape, got 8"),
        (_pack(_entry(shape=[0] + [2**52] * 3, place=[0, 0])), "cannot have its shape"),
        (_pack(_entry(place=[0, 8]), bytes(7)), "two offsets within 7 bytes"),
        (_pack(_entry(place=[8, 0]), bytes(8)), "two offsets within 8 bytes"),
        (_pack(_entry(place=[0]), bytes(8)), "two offsets within 8 bytes"),
        (_pack(_entry(place=[0, 8.0]), bytes(8)), "up to 8 counts as `data_offsets`"),
        (_pack(_entry(), bytes(9)), "must have the 8 bytes of their arrays, got 9"),
    ],
)
def test_false_claims_are_refused(content, expected):
    """Whatever the header says of what is not there is refused, by name."""
    with pytest.raises(WireError, match=expected):
        view_arrays(content)


@given(st.integers(0, len(_FILE) - 1), st.integers(1, 255), st.booleans())
def test_damage_reads_nothing_beyond_the_file(place, change, is_cut):
    """A flipped byte or a cut raises `WireError`, or leaves arrays of the bytes that are there."""
    damaged = bytearray(_FILE)
    if is_cut:
        del damaged[place:]
    else:
        damaged[place] ^= change
    try:
        arrays = view_arrays(memoryview(bytes(damaged)))
    except WireError:
        return
    assert not is_cut
    assert sum(array.nbytes for array in arrays.values()) == sum(array.nbytes for array in _ARRAYS.values())
