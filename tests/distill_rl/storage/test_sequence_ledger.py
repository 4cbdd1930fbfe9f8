"""The ledger of sequence numbers, against a plain set of all that came."""

from hypothesis import given
from hypothesis import strategies as st

from distill_rl.storage import sequence_ledger
from distill_rl.storage.sequence_ledger import SequenceLedger


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=80))
def test_each_message_is_new_once(messages):
    """The ledger says the same as a set; what is missing is what later numbers skipped."""
    ledger, seen = SequenceLedger(), {}
    for actor_id, sequence in messages:
        known = seen.setdefault(actor_id, [])
        assert ledger.is_new(actor_id, sequence) == (sequence not in known)
        assert ledger.add(actor_id, sequence) == (sequence not in known)
        known.append(sequence)
    missing = sum(len(set(range(known[0], max(known))) - set(known)) for known in seen.values())
    assert ledger.num_missing == missing
    assert ledger.num_actors == len(seen)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_state_goes_on(sequences):
    """A restored ledger knows what the first one knew."""
    ledger, restored = SequenceLedger(), SequenceLedger()
    for sequence in sequences:
        ledger.add("a", sequence)
    restored.set_state(ledger.get_state())
    assert restored.num_missing == ledger.num_missing
    assert [restored.is_new("a", n) for n in range(25)] == [ledger.is_new("a", n) for n in range(25)]


def test_memory_is_bounded(monkeypatch):
    """Huge jumps and many actors are counted, without remembering each number and each actor."""
    ledger = SequenceLedger()
    ledger.add("a", 0)
    ledger.add("a", 2**40)
    assert ledger.num_missing == 2**40 - 1
    assert len(ledger.get_state()["actors"]["a"][2]) <= sequence_ledger._MAX_REMEMBERED
    monkeypatch.setattr(sequence_ledger, "_MAX_ACTORS", 3)
    for number in range(5):
        ledger.add(f"robot-{number}", 0)
    assert ledger.num_actors == 3
    assert ledger.num_missing == 2**40 - 1
