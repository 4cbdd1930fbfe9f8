"""Messages on the wire: what goes in comes out, and nothing else gets in."""

import hashlib
import pickle
import struct

import msgpack
import numpy as np
import pytest
from edge_samples import assert_same, make_collected
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_rl.storage import framing
from distill_rl.storage.framing import WireError, seal, unseal
from distill_rl.storage.reference_wire import ReferenceBatch, decode_batch, encode_batch, payload_bytes

_MAX_BYTES = 1 << 20
_BATCH = ReferenceBatch("robot-1", 4, (make_collected(3), make_collected(2, seed=1)), num_dropped_sets=9)
_MESSAGE = encode_batch(_BATCH)


def _resealed(change) -> bytes:
    """Returns the message with a changed header under a digest that fits."""
    header, payload = unseal(b"DRLR", _MESSAGE, _MAX_BYTES)
    change(header)
    return seal(b"DRLR", header, [payload])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(0, 2**40), st.booleans())
@settings(max_examples=30, deadline=None)
def test_round_trip_keeps_everything(sizes, sequence, in_half_precision):
    """Decoding returns what was encoded: arrays with their dtypes, counters, episodes and metrics."""
    collected = [make_collected(size, seed) for seed, size in enumerate(sizes)]
    if in_half_precision:
        first = collected[0]
        sets = first.reference_set.map_arrays(lambda a: a.astype(np.float64))
        collected[0] = type(first)(**{**vars(first), "reference_set": sets})
    batch = decode_batch(encode_batch(ReferenceBatch("a", sequence, tuple(collected), 2)), _MAX_BYTES)
    assert (batch.actor_id, batch.sequence, batch.num_dropped_sets) == ("a", sequence, 2)
    for expected, actual in zip(collected, batch.collected, strict=True):
        assert_same(expected, actual)


def test_message_is_hardly_larger_than_its_arrays():
    """The frame of a batch of the usual size takes less than two percent."""
    collected = make_collected(1000)
    message = encode_batch(ReferenceBatch("a", 0, (collected,)))
    assert len(message) < 1.02 * payload_bytes([collected])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_message_is_refused(data):
    """A message with any bytes replaced, cut or added raises `WireError`, and nothing else."""
    message = bytearray(_MESSAGE)
    kind = data.draw(st.sampled_from(["replace", "cut", "add"]))
    position = data.draw(st.integers(0, len(message) - 1))
    if kind == "replace":
        message[position] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del message[position : position + data.draw(st.integers(1, 200))]
    else:
        message[position:position] = data.draw(st.binary(min_size=1, max_size=50))
    if bytes(message) != _MESSAGE:
        with pytest.raises(WireError):
            decode_batch(bytes(message), _MAX_BYTES)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_random_header_under_a_good_digest_is_refused(junk):
    """Whoever can compute the digest can still not make the decoder do anything but refuse."""
    body = struct.pack(">I", len(junk)) + junk
    message = struct.pack(">4sH32s", b"DRLR", framing.SCHEMA_VERSION, hashlib.sha256(body).digest()) + body
    with pytest.raises(WireError):
        decode_batch(message, _MAX_BYTES)


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(["actor_id", "sequence", "fragments", "num_dropped_sets"]),
    _VALUES,
    st.sampled_from([0, 1]),
)
@settings(max_examples=200, deadline=None)
def test_wrong_values_in_the_header_are_refused(name, value, deep):
    """Any value in any place of the header is taken or refused with `WireError`."""

    def change(header):
        if deep:
            fragment = header["fragments"][0]
            key = sorted(fragment)[len(str(value)) % len(fragment)]
            fragment[key] = value
        else:
            header[name] = value

    try:
        batch = decode_batch(_resealed(change), _MAX_BYTES)
    except WireError:
        return
    for collected in batch.collected:
        collected.reference_set.validate()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda h: h.update(actor_id=""), "`actor_id` must have 1 to 200 characters"),
        (lambda h: h.update(sequence=-1), "`sequence` must be an integer of at least 0, got -1"),
        (lambda h: h["fragments"].pop(), "payload must have the"),
        (lambda h: h["fragments"][0]["arrays"].pop(), "breaks its contract"),
        (lambda h: h["fragments"][0]["arrays"].append(["bogus", "f4", [0]]), "alone, got 'bogus'"),
        (lambda h: h["fragments"][0]["arrays"][0].__setitem__(1, "O"), "dtype of f2, f4, f8, got 'O'"),
        (lambda h: h["fragments"][0]["arrays"][0].__setitem__(2, [2**50, 4]), "must end within"),
        (lambda h: h["fragments"][0].update(convention="odds"), "`convention` must be"),
        (lambda h: h["fragments"][0].update(policy_version=1.5), "`policy_version` must be an integer"),
        (lambda h: h["fragments"][0]["episodes"][0].__setitem__(0, float("nan")), "finite return"),
    ],
)
def test_refusal_says_what_is_wrong(change, expected):
    """A header that breaks the contract is refused with its name."""
    with pytest.raises(WireError, match=expected):
        decode_batch(_resealed(change), _MAX_BYTES)


def test_pickle_other_schemas_and_large_messages_are_refused():
    """Pickle is not looked into; another version and a size above the cap are named."""
    with pytest.raises(WireError, match="must begin with b'DRLR'"):
        decode_batch(pickle.dumps({"a": 1}) * 10, _MAX_BYTES)
    newer = _MESSAGE[:4] + struct.pack(">H", 2) + _MESSAGE[6:]
    with pytest.raises(WireError, match="schema version 1, got 2"):
        decode_batch(newer, _MAX_BYTES)
    with pytest.raises(WireError, match=f"at most 100 bytes, got {len(_MESSAGE)}"):
        decode_batch(_MESSAGE, 100)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_batch_outlives_its_message(kind):
    """What was decoded stays as it was, whatever becomes of the memory that it came in."""
    buffer = bytearray(_MESSAGE)
    batch = decode_batch(_MESSAGE if kind is bytes else kind(buffer), _MAX_BYTES)
    buffer[:] = bytes(len(buffer))
    for expected, actual in zip(_BATCH.collected, batch.collected, strict=True):
        assert_same(expected, actual)
        assert not any(array.flags.writeable for array in actual.reference_set.to_arrays().values())


def test_huge_claims_cost_no_memory():
    """A small message that claims a huge header or array is refused before anything is allocated."""
    for packed in (b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 100_000):
        with pytest.raises(WireError):
            unseal(b"DRLR", seal(b"DRLR", {}, []).replace(msgpack.packb({}), packed), _MAX_BYTES)
        body = struct.pack(">I", len(packed)) + packed
        digest = hashlib.sha256(body).digest()
        with pytest.raises(WireError, match="header is no msgpack"):
            unseal(b"DRLR", struct.pack(">4sH32s", b"DRLR", 1, digest) + body, _MAX_BYTES)
