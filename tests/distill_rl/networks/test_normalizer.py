import numpy as np
import pytest
import torch

from distill_rl.networks.normalizer import RunningNormalizer


def test_merged_statistics_match_numpy_over_everything():
    """Batches of any size merge to the mean and variance of their concatenation."""
    generator = np.random.default_rng(0)
    data = generator.normal(size=(503, 3)) * [1.0, 10.0, 0.1] + [0.0, 1000.0, -3.0]
    normalizer = RunningNormalizer(3)
    for part in np.split(data, [1, 2, 40, 300]):
        normalizer.update(torch.from_numpy(part))
    np.testing.assert_allclose(normalizer.mean, data.mean(0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.var, data.var(0), rtol=1e-4)
    assert float(normalizer.count) == 503
    expected = np.clip((data - data.mean(0)) / np.sqrt(data.var(0) + 1e-6), -10, 10)
    np.testing.assert_allclose(normalizer(torch.from_numpy(data)).numpy(), expected, atol=2e-3)


def test_output_is_clipped():
    """An outlier of a constant feature gives 10, not infinity."""
    normalizer = RunningNormalizer(1)
    normalizer.update(torch.zeros(100, 1))
    assert float(normalizer(torch.tensor([[5.0]]))) == 10.0
    assert float(normalizer(torch.tensor([[-5.0]]))) == -10.0


def test_identity_before_the_first_batch():
    """A fresh normaliser changes nothing (within its epsilon)."""
    x = torch.randn(4, 2)
    torch.testing.assert_close(RunningNormalizer(2)(x), x, rtol=1e-5, atol=1e-5)


def test_non_finite_batch_is_ignored():
    """NaN, infinity, or what overflows leaves the statistics as they were."""
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.randn(10, 2, generator=torch.Generator().manual_seed(0)))
    before = {name: buffer.clone() for name, buffer in normalizer.state_dict().items()}
    for bad in (float("nan"), float("inf"), 1e30):  # the square of the last one is beyond float32
        normalizer.update(torch.tensor([[0.0, bad], [1.0, 1.0]]))
    for name, buffer in normalizer.state_dict().items():
        assert torch.equal(buffer, before[name])


def test_statistics_can_be_set():
    """Inputs of that mean and variance come out with mean 0 and variance 1."""
    normalizer = RunningNormalizer(3)
    mean, var = np.array([1.0, -20.0, 0.1]), np.array([4.0, 0.01, 900.0])
    normalizer.set_statistics(mean, var, 77)
    scaled = torch.tensor([[1.0, -1.0, 2.0], [-1.0, 1.0, -2.0]])
    rows = torch.from_numpy(mean + np.sqrt(var) * scaled.numpy()).float()
    torch.testing.assert_close(normalizer(rows), scaled, rtol=1e-3, atol=1e-3)
    assert float(normalizer.count) == 77.0


def test_another_size_is_refused():
    """Also one entry, which would be repeated in silence."""
    normalizer = RunningNormalizer(3)
    for call in (normalizer, normalizer.update):
        for size in (1, 4):
            with pytest.raises(ValueError, match=rf"`x` must have shape \[..., 3\], got \[5, {size}\]"):
                call(torch.zeros(5, size))
