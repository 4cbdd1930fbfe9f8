"""The figure of learning curves."""

import numpy as np
import pytest

from distill_rl.cli.experiments.curve_figure import CURVES, band, draw_curves, split_curves


def test_band_of_straight_lines_is_exact_wherever_they_were_taken():
    """Interpolation knows a line, and looks at no point outside of what all curves share."""
    first, second = np.array([0.0, 1.0, 4.0]), np.array([0.5, 3.0, 6.0])
    x, mean, low, high = band([(first, 2.0 * first), (second, 2.0 * second + 4.0)])
    assert x.tolist() == [0.5, 1.0, 3.0, 4.0]
    np.testing.assert_allclose(mean, 2.0 * x + 2.0)
    np.testing.assert_allclose(low, 2.0 * x)
    np.testing.assert_allclose(high, 2.0 * x + 4.0)


def test_band_of_one_curve_is_the_curve():
    """There is nothing to average."""
    x, y = np.array([0.0, 2.0]), np.array([1.0, 5.0])
    points, mean, low, high = band([(x, y)])
    assert points.tolist() == x.tolist()
    assert mean.tolist() == low.tolist() == high.tolist() == y.tolist()


def _rows(methods, seeds=(0, 1)):
    return [
        {
            "method": method,
            "policy": policy,
            "seed": seed,
            "evaluation": index,
            "wall_sec": 10.0 * index,
            "env_steps": 100 * index,
            "simulator_steps": 1000 * index,
            "episode_return": float(index + seed),
        }
        for method, policy in methods
        for seed in seeds
        for index in reversed(range(3))
    ]


def test_curves_are_split_by_seed_and_ordered():
    """Rows of other methods do not get in."""
    student, search, *_ = CURVES
    rows = _rows([("distill", "student"), ("distill", "search")])
    runs = split_curves(rows, student)
    assert [[row["evaluation"] for row in run] for run in runs] == [[0, 1, 2], [0, 1, 2]]
    assert {row["policy"] for run in runs for row in run} == {"student"}
    assert split_curves(rows[:6], search) == []


@pytest.mark.parametrize("methods", [[("sac", "policy")], [(c.method, c.policy) for c in CURVES]])
def test_figure_is_drawn_from_what_there_is(tmp_path, methods):
    """A method without rows is left out."""
    (path,) = draw_curves(_rows(methods), tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
