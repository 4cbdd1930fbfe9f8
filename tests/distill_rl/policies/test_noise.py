import pytest
import torch

from distill_rl.policies.noise import scaled_noise_fn


def test_noise_is_scaled_standard_normal_with_the_axes_of_what_it_is_for():
    """Two calls are the generator's next two draws, times the scale, in the dtype of the observation."""
    like, generator = torch.zeros(4, 1, 3, dtype=torch.float64), torch.Generator().manual_seed(0)
    noise_fn = scaled_noise_fn(like, 2, 0.5, generator)
    expected = torch.Generator().manual_seed(0)
    for _ in range(2):
        drawn = noise_fn()
        assert drawn.dtype == torch.float64
        torch.testing.assert_close(drawn, 0.5 * torch.randn(4, 1, 2, generator=expected).double())


def test_noise_of_scale_zero_is_zero_and_draws_nothing():
    """The generator stays where it was."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(scaled_noise_fn(torch.ones(4, 3), 2, 0.0, generator)(), torch.zeros(4, 2))
    assert torch.equal(generator.get_state(), before)


def test_noise_without_a_generator_is_of_the_global_one():
    """Its seed decides, and its moments are those of the scale."""
    torch.manual_seed(3)
    drawn = scaled_noise_fn(torch.zeros(20_000, 1), 2, 3.0, None)()
    torch.manual_seed(3)
    assert torch.equal(drawn, 3.0 * torch.randn(20_000, 2))
    assert float(drawn.std()) == pytest.approx(3.0, rel=0.02)
