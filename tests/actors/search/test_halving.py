import numpy as np
import pytest

from actors.search.halving import HalvingRound, halving_schedule, keep_best


def test_schedule_by_hand():
    """Half of the candidates, rounded down, stay after each round."""
    rounds = halving_schedule(16, (1, 2, 4, 8))
    assert [(r.num_candidates, r.num_rollouts) for r in rounds] == [(16, 1), (8, 2), (4, 4), (2, 8)]
    assert [r.num_candidates for r in halving_schedule(7, (1, 1, 1, 1))] == [7, 3, 2, 2]


def test_schedule_with_one_candidate():
    """A single candidate stays single."""
    assert halving_schedule(1, (3, 3)) == (HalvingRound(1, 3), HalvingRound(1, 3))


@pytest.mark.parametrize("num_candidates, rollouts", [(0, (1,)), (4, ()), (4, (1, 0))])
def test_schedule_refuses_empty_rounds(num_candidates, rollouts):
    """Every round needs a candidate and a rollout."""
    with pytest.raises(ValueError, match="must be"):
        halving_schedule(num_candidates, rollouts)


def test_keep_best_by_hand():
    """The best of those still in stay, in their old order; those that are out stay out."""
    candidates = np.array([[0, 2, 3], [1, 2, 3]])
    q_values = np.array([[1.0, 99.0, 0.0, 3.0], [99.0, -1.0, -2.0, -3.0]])
    np.testing.assert_array_equal(keep_best(candidates, q_values, 2), [[0, 3], [1, 2]])


def test_keep_best_ranks_diverged_last_and_ties_first_come():
    """NaN never beats a number, and ties go to the first."""
    candidates = np.arange(4)[None]
    np.testing.assert_array_equal(keep_best(candidates, np.array([[np.nan, 1.0, 1.0, 1.0]]), 2), [[1, 2]])
    np.testing.assert_array_equal(keep_best(candidates, np.array([[np.nan, -9.0, np.inf, np.nan]]), 1), [[1]])


def test_keep_best_agrees_with_a_loop():
    """Each row is what sorting that row alone gives."""
    generator = np.random.default_rng(0)
    q_values = generator.standard_normal((20, 9))
    candidates = np.sort(np.stack([generator.permutation(9)[:6] for _ in range(20)]), axis=1)
    kept = keep_best(candidates, q_values, 3)
    for row in range(20):
        expected = sorted(sorted(candidates[row], key=lambda i, row=row: -q_values[row, i])[:3])
        assert kept[row].tolist() == expected


def test_keep_best_refuses_more_than_there_are():
    """No more can stay than are in."""
    with pytest.raises(ValueError, match="`num_kept` must be within 1 to 3, got 4"):
        keep_best(np.zeros((1, 3), int), np.zeros((1, 5)), 4)
