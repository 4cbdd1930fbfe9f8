import pytest

from distill_rl.datasets.scores import REFERENCE_SCORES, find_reference, normalized_score


def test_scores_are_those_of_the_paper():
    """0 and 100 at the references, linear between; the scores of a family are shared."""
    reference = REFERENCE_SCORES.get("hopper-medium-replay-v2")
    assert reference == REFERENCE_SCORES.get("hopper-random-v0")
    assert normalized_score(reference.low, reference) == 0.0
    assert normalized_score(3234.3, reference) == pytest.approx(100.0)
    assert normalized_score(1_000.0, REFERENCE_SCORES.get("halfcheetah-expert-v1")) == pytest.approx(
        10.3111, abs=1e-3
    )
    assert normalized_score(0.5, REFERENCE_SCORES.get("antmaze-large-play-v2")) == 50.0


def test_there_is_one_for_every_dataset_of_the_tables():
    """As many names as D4RL's own table has, its loops for later versions included."""
    assert len(REFERENCE_SCORES) == 147
    assert {"kitchen-mixed-v0", "maze2d-large-dense-v1", "carla-town-v0", "ant-full-replay-v2"} <= set(
        REFERENCE_SCORES
    )


def test_a_dataset_may_name_the_one_whose_scale_it_has():
    """Its own name goes first; a name that has none, and none at all, give None."""
    hopper, umaze = (REFERENCE_SCORES[name] for name in ("hopper-medium-v2", "maze2d-umaze-v1"))
    assert find_reference({"name": "hopper-medium-v2"}) == hopper
    assert find_reference({"name": "own-hopper", "reference": "hopper-medium-v2"}) == hopper
    assert find_reference({"name": "maze2d-umaze-v1", "reference": "hopper-medium-v2"}) == umaze
    for unknown in ({}, {"reference": None}, {"reference": "hopper"}):
        assert find_reference({"name": "own-hopper", **unknown}) is None
