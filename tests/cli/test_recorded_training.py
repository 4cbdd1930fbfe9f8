import pytest

from distill_rl.cli.recorded_training import choose_policies


@pytest.mark.parametrize(
    ("mean_returns", "medium", "expert"),
    [
        ([10, 50, 290, 310, 600, 900, 700], 3, 5),  # from 300 on
        ([10, 300, 100, 900], 1, 3),  # exactly a third is enough, and the first one counts
        ([5, 400, 900, 900], 1, 2),  # of equals the first
    ],
)
def test_the_expert_is_the_best_and_the_medium_one_the_first_with_a_third(mean_returns, medium, expert):
    """Worked out by hand."""
    assert choose_policies(mean_returns) == (medium, expert)


@pytest.mark.parametrize(
    ("mean_returns", "message"),
    [
        ([-3.0, -1.0], "until a return is positive, got at most -1.0"),
        (
            [-280.0, -5.0, 4.0],
            r"until a policy is better than the medium one, got 4\.0 for both; train longer",
        ),
        ([5.0, 900.0, 900.0], "got 900.0 for both"),
        ([20.0, 50.0], "until the best return is 3 times the untrained policy's 20.0, got 50.0"),
    ],
)
def test_a_training_that_is_too_short_is_told(mean_returns, message):
    """There would be no medium policy, or nothing before it, or it would be the expert."""
    with pytest.raises(ValueError, match=message):
        choose_policies(mean_returns)
