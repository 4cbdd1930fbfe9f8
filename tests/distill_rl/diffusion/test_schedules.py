import math

import pytest

from distill_rl.diffusion.schedules import karras_sigmas, num_levels_at, target_decay_at


def test_karras_sigmas_match_the_formula_written_out():
    """Levels are the rho-th powers of an arithmetic sequence between the rho-th roots of the ends."""
    sigmas = karras_sigmas(5, 0.002, 80.0).tolist()
    roots = [80 ** (1 / 7) + i / 4 * (0.002 ** (1 / 7) - 80 ** (1 / 7)) for i in range(5)]
    assert sigmas == pytest.approx([root**7 for root in roots], rel=1e-5)
    assert (sigmas[0], sigmas[-1]) == (80.0, pytest.approx(0.002, rel=1e-7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0.1, 1.0), "`num_levels` must be at least 2, got 1"),
        ((3, 0.0, 1.0), "`sigma_min` must be positive, got 0.0"),
        ((3, 2.0, 1.0), "`sigma_max` must exceed `sigma_min` = 2.0, got 1.0"),
    ],
)
def test_karras_sigmas_names_a_bad_argument(arguments, message):
    """A wrong argument is named with what came."""
    with pytest.raises(ValueError, match=message):
        karras_sigmas(*arguments)


def test_num_levels_grows_from_start_to_end_and_stays():
    """N(0) = s0, N(K) = s1 + 1, never falling, constant after K."""
    levels = [num_levels_at(k, 1000, 2, 150) for k in range(0, 1001, 10)]
    assert (levels[0], levels[-1], num_levels_at(5000, 1000, 2, 150)) == (2, 151, 151)
    assert levels == sorted(levels)
    assert num_levels_at(500, 1000, 2, 150) == math.ceil(math.sqrt(0.5 * (151**2 - 4) + 4) - 1) + 1


def test_target_decay_starts_at_mu0_and_rises():
    """The decay is mu0 where N = s0; the target slows down as levels get closer."""
    assert target_decay_at(2) == pytest.approx(0.95)
    assert target_decay_at(150) == pytest.approx(0.95 ** (2 / 150))
