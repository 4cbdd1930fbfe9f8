"""Models of a run of offline learning, chosen by two rules."""

import pytest

from distill_rl.cli.offline_summary import SelectedReturns, select_models, summarise_offline

_RETURN, _LOSS = "evaluation/student_return", "learner/behaviour_loss"


def test_models_are_chosen_by_the_return_and_by_the_loss():
    """Only rows that were evaluated count, however small another one's loss is."""
    rows = [
        {_RETURN: 10.0, _LOSS: 0.5},
        {_LOSS: 0.1},
        {_RETURN: 30.0, _LOSS: 0.4},
        {_RETURN: 20.0, _LOSS: 0.2},
        {_RETURN: None, _LOSS: 0.0},
    ]
    assert select_models(rows) == SelectedReturns(online=30.0, offline=20.0)


@pytest.mark.parametrize("rows", [[], [{_LOSS: 0.1}], [{_RETURN: None, _LOSS: 0.1}]])
def test_without_evaluations_nothing_is_chosen(rows):
    """Neither rule has anything to choose from."""
    assert select_models(rows) == SelectedReturns(None, None)


@pytest.mark.parametrize("unknown", [{}, {_LOSS: None}])
def test_a_loss_that_is_not_known_is_not_the_smallest(unknown):
    """Missing, or null since it was not finite."""
    rows = [{_RETURN: 40.0, **unknown}, {_RETURN: 10.0, _LOSS: 0.5}, {_RETURN: 20.0, _LOSS: 0.6}]
    assert select_models(rows) == SelectedReturns(online=40.0, offline=10.0)
    assert select_models(rows[:1]) == SelectedReturns(online=40.0, offline=None)


def test_scores_are_on_the_scale_of_the_dataset():
    """Hand-worked: `maze2d-umaze-v1` has 23.85 at 0 and 161.86 at 100; the name of the dataset stays."""
    rows = [{_RETURN: 161.86, _LOSS: 0.5}, {_RETURN: 23.85, _LOSS: 0.4}]
    final = 0.5 * (23.85 + 161.86)
    for metadata in ({"name": "maze2d-umaze-v1"}, {"name": "own-maze", "reference": "maze2d-umaze-v1"}):
        summary = summarise_offline(rows, final, metadata)
        assert summary == {
            "dataset": metadata["name"],
            "online_selected_return": 161.86,
            "offline_selected_return": 23.85,
            "score": pytest.approx(50.0),
            "online_selected_score": pytest.approx(100.0),
            "offline_selected_score": pytest.approx(0.0),
        }


def test_what_is_not_known_is_none():
    """A dataset without a scale has returns alone; a run without evaluations has nothing."""
    summary = summarise_offline([{_RETURN: 5.0, _LOSS: 0.5}], 6.0, {"name": "own", "reference": None})
    assert summary["online_selected_return"] == summary["offline_selected_return"] == 5.0
    assert all(summary[f"{name}score"] is None for name in ("", "online_selected_", "offline_selected_"))
    nothing = summarise_offline([], None, {"name": "hopper-medium-v2"})
    assert nothing.pop("dataset") == "hopper-medium-v2"
    assert len(nothing) == 5 and set(nothing.values()) == {None}
