import numpy as np
import pytest

from actors.search.ascent import ascent_direction


def test_direction_of_a_linear_function():
    """Of a linear function it is the gradient up to the ridge, whatever the offset, scaled to 1."""
    generator = np.random.default_rng(0)
    gradient = np.array([[3.0, -1.0, 0.5], [0.0, 2.0, 2.0]])
    displacements = generator.standard_normal((2, 4000, 3))
    q_values = np.einsum("bka,ba->bk", displacements, gradient) + 100.0
    expected = gradient / np.abs(gradient).max(axis=1, keepdims=True)
    np.testing.assert_allclose(ascent_direction(displacements, q_values), expected, atol=1e-3)


def test_values_that_are_not_finite_are_left_out():
    """A diverged candidate changes nothing: the fit is that without it."""
    generator = np.random.default_rng(1)
    displacements, q_values = generator.standard_normal((1, 8, 2)), generator.standard_normal((1, 8))
    expected = ascent_direction(displacements[:, 1:], q_values[:, 1:])
    q_values[0, 0] = np.nan
    np.testing.assert_allclose(ascent_direction(displacements, q_values), expected, rtol=1e-6)


def test_equal_values_have_no_direction():
    """Where values do not differ, or none is known, the direction is zero."""
    displacements = np.random.default_rng(2).standard_normal((2, 5, 3))
    q_values = np.array([[2.0] * 5, [np.nan] * 5])
    np.testing.assert_array_equal(ascent_direction(displacements, q_values), np.zeros((2, 3)))


def test_wrong_shape_is_named():
    """Values that do not match the displacements are refused by name."""
    with pytest.raises(ValueError, match="`q_values` must have shape"):
        ascent_direction(np.zeros((2, 5, 3)), np.zeros((2, 4)))
