from distill_rl.algorithms.weight_store import WeightStore


def _store():
    return WeightStore(put=lambda weights: ("ref", weights))


def test_store_gives_only_what_is_newer():
    """A reader gets a publication once, and nothing until the next one."""
    store = _store()
    assert store.pull_if_newer(None) is None
    store.publish(7, "w7")
    publication = store.pull_if_newer(None)
    assert (publication.policy_version, publication.weights) == (7, ("ref", "w7"))
    assert store.pull_if_newer(publication.token) is None
    store.publish(8, "w8")
    assert store.pull_if_newer(publication.token).policy_version == 8


def test_store_gives_restored_older_weights():
    """Weights of a lower version, published later, reach readers of the higher version."""
    store = _store()
    store.publish(50, "new")
    token = store.pull_if_newer(None).token
    store.publish(20, "restored")
    assert store.pull_if_newer(token).policy_version == 20


def test_store_that_replaces_a_dead_one_is_read_again():
    """A token of another store never hides a publication, even with the same number."""
    store, other = _store(), _store()
    store.publish(1, "a")
    other.publish(1, "b")
    assert other.pull_if_newer(store.pull_if_newer(None).token).weights == ("ref", "b")
