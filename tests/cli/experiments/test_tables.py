import pytest

from distill_rl.cli.experiments.tables import spread


@pytest.mark.parametrize(
    ("values", "form", "expected"),
    [
        ([1.0, 2.0, 6.0], ".1f", "3.0 (1.0 to 6.0)"),
        ([0.25, 0.75], ".0%", "50% (25% to 75%)"),
        ([2.0], ".1f", "2.0"),
        ([1.0, None], ".1f", "-"),
        ([], ".1f", "-"),
    ],
)
def test_spread(values, form, expected):
    """Mean and range of several, the value of one, and a dash for what is not known."""
    assert spread(values, form) == expected
