import math

import pytest
import torch

from distill_rl.diffusion.scalings import consistency_scalings, edm_scalings


def test_edm_scalings_at_sigma_data_are_the_hand_worked_values():
    """At sigma = sigma_data = 0.5: c_skip 1/2, c_out 1/(2 sqrt 2), c_in sqrt 2, c_noise ln(0.5)/4."""
    scalings = edm_scalings(0.5, 0.5)
    assert scalings == pytest.approx((0.5, 0.5 / math.sqrt(2), math.sqrt(2), math.log(0.5) / 4))


def test_edm_scalings_give_unit_variance():
    """c_in normalises the input, and c_out the target (x - c_skip x_sigma) / c_out, to unit variance."""
    for sigma in (0.01, 0.7, 80.0):
        c_skip, c_out, c_in, _ = edm_scalings(sigma, 0.5)
        assert c_in**2 * (0.25 + sigma**2) == pytest.approx(1.0)
        assert ((1 - c_skip) ** 2 * 0.25 + c_skip**2 * sigma**2) / c_out**2 == pytest.approx(1.0)


def test_consistency_scalings_at_sigma_min_are_the_identity():
    """The boundary condition: c_skip = 1 and c_out = 0 at sigma_min, and not elsewhere."""
    at_min, above = consistency_scalings(0.002, 0.5, 0.002), consistency_scalings(0.01, 0.5, 0.002)
    assert (at_min.c_skip, at_min.c_out) == (1.0, 0.0)
    assert above.c_skip < 1.0 < above.c_out + 1.0


def test_scalings_of_floats_and_tensors_agree():
    """The same formula serves floats and tensors."""
    sigmas = torch.tensor([0.002, 0.3, 80.0], dtype=torch.float64)
    of_tensor = consistency_scalings(sigmas, 0.5, 0.002)
    for i, sigma in enumerate(sigmas.tolist()):
        assert [float(s[i]) for s in of_tensor] == pytest.approx(consistency_scalings(sigma, 0.5, 0.002))
