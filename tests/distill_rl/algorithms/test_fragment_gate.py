from distill_rl.algorithms.fragment_gate import FragmentGate


def _accept(gate, sequence, *, actor_id=1, policy_version=0):
    return gate.accept(actor_id=actor_id, sequence=sequence, policy_version=policy_version, num_sets=8)


def test_gate_counts_each_fragment_once():
    """A fragment that arrives twice is accepted once and counted as a duplicate once."""
    gate = FragmentGate()
    first, second = gate.issue(1), gate.issue(1)
    assert (first, second) == (0, 1)
    assert _accept(gate, second) and _accept(gate, first)
    assert not _accept(gate, first)
    assert (gate.num_accepted, gate.num_duplicates) == (2, 1)


def test_gate_refuses_what_was_not_asked_for():
    """Numbers that were never issued, or belong to another actor, are refused."""
    gate = FragmentGate()
    gate.issue(1)
    assert not _accept(gate, 5)
    assert not _accept(gate, 0, actor_id=2)
    assert gate.num_duplicates == 2


def test_gate_refuses_late_answers_of_a_restarted_actor():
    """What a dead actor owed is lost; if it comes after all it is not counted, and the numbers go on."""
    gate = FragmentGate()
    gate.issue(1)
    assert gate.forget(1) == 1
    assert not _accept(gate, 0)
    assert gate.issue(1) == 1
    assert _accept(gate, 1)
    assert (gate.num_lost, gate.num_duplicates, gate.num_accepted) == (1, 1, 1)


def test_gate_drops_and_counts_stale_fragments():
    """A fragment older than `max_policy_lag` updates is dropped, with its sets counted."""
    gate = FragmentGate(max_policy_lag=10)
    for _ in range(2):
        gate.issue(1)
    for version in (80, 90, 100):
        gate.publish(version)
    assert _accept(gate, 0, policy_version=90)
    assert not _accept(gate, 1, policy_version=89)
    assert (gate.num_stale, gate.num_stale_sets) == (1, 8)
    assert gate.pop_lags() == ([10], [1])
    assert gate.pop_lags() == ([], [])


def test_gate_state_round_trip_never_reissues():
    """Restored counters go on, and a number already issued is not issued again."""
    gate = FragmentGate()
    for _ in range(3):
        gate.issue(1)
    _accept(gate, 0)
    other = FragmentGate()
    other.set_state(gate.get_state())
    assert other.num_accepted == 1
    assert other.issue(1) == 3
    older = FragmentGate().get_state()
    other.set_state(older)
    assert other.issue(1) == 4


def test_lag_counts_published_versions_across_a_restore():
    """The lag in versions is how many were published since; a restore takes the later ones back."""
    gate = FragmentGate()
    for sequence in range(3):
        assert gate.issue(1) == sequence
    for version in (0, 16, 32, 48):
        gate.publish(version)
    assert _accept(gate, 0, policy_version=16)
    gate.publish(32)
    assert _accept(gate, 1, policy_version=16)
    assert _accept(gate, 2, policy_version=48)
    assert gate.pop_lags() == ([32, 16, 0], [2, 1, 0])
