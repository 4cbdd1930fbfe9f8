import itertools
import math

import numpy as np
import pytest
import torch

from distill_rl.diffusion.ddpm import add_noise, sample_ancestral, variance_preserving_schedule


def _slow_schedule(num_steps: int, beta_min: float = 0.1, beta_max: float = 10.0):
    """Pairs (alpha_t, alpha_bar_t), in float64, by the closed form of the product."""
    bars = [1.0]
    for t in range(1, num_steps + 1):
        bars.append(math.exp(-beta_min * t / num_steps - (beta_max - beta_min) * t**2 / (2 * num_steps**2)))
    return [(bar / before, bar) for before, bar in itertools.pairwise(bars)]


def _exact_noise_fn(mean: float, std: float, num_steps: int):
    """E[z | x_t] for data N(mean, std^2)."""
    levels = _slow_schedule(num_steps)

    def noise_fn(x, step):
        bar = levels[step][1]
        return math.sqrt(1.0 - bar) * (x - math.sqrt(bar) * mean) / (bar * std**2 + 1.0 - bar)

    return noise_fn


@pytest.mark.parametrize("num_steps", [1, 5, 50])
@pytest.mark.parametrize("betas", [(0.1, 10.0), (0.5, 4.0)])
def test_schedule_matches_the_closed_form_of_its_product(num_steps, betas):
    """alpha_bar_t = exp(-beta_min t / T - (beta_max - beta_min) t^2 / (2 T^2)), and alpha is its ratio."""
    schedule = variance_preserving_schedule(num_steps, *betas)
    alpha, alpha_bar = np.array(_slow_schedule(num_steps, *betas)).T
    np.testing.assert_allclose(schedule.alpha.numpy(), alpha, rtol=1e-6)
    np.testing.assert_allclose(schedule.alpha_bar.numpy(), alpha_bar, rtol=1e-6)
    assert schedule.alpha.dtype == schedule.alpha_bar.dtype == torch.float32
    assert float(schedule.alpha_bar[-1]) == pytest.approx(math.exp(-sum(betas) / 2), rel=1e-5)


def test_schedule_defaults_are_those_of_five_step_policies():
    """beta_min 0.1 and beta_max 10: worked by hand for two steps, exp(-0.05 - 4.95 (2 t - 1) / 4)."""
    alpha = variance_preserving_schedule(2).alpha
    np.testing.assert_allclose(alpha.numpy(), [math.exp(-1.2875), math.exp(-3.7625)], rtol=1e-6)


def test_schedule_without_steps_is_named():
    """The message names the argument and what came."""
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        variance_preserving_schedule(0)


def test_add_noise_is_the_chain_of_single_steps():
    """Each x_t = sqrt(alpha) x_{t-1} + sqrt(1 - alpha) z, so scale and variance follow by a slow loop."""
    num_steps = 4
    clean, noise = torch.tensor([0.5, -0.8]), torch.tensor([-1.5, 0.3])
    scale, variance, expected = 1.0, 0.0, []
    for alpha, _ in _slow_schedule(num_steps):
        scale, variance = math.sqrt(alpha) * scale, alpha * variance + 1.0 - alpha
        expected.append(scale * clean + math.sqrt(variance) * noise)
    schedule, step = variance_preserving_schedule(num_steps), torch.tensor([[3, 0], [1, 2], [2, 2]])
    noisy = add_noise(schedule, clean.expand(3, 2, 2), noise.expand(3, 2, 2), step)
    assert noisy.shape == (3, 2, 2)
    for row, column in np.ndindex(3, 2):
        torch.testing.assert_close(noisy[row, column], expected[int(step[row, column])], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_ancestral_sampling_follows_algorithm_2(num_steps):
    """Where nothing is clipped, x_{t-1} = (x_t - (1 - a) / sqrt(1 - abar) z) / sqrt(a) + sigma_t noise."""
    draws = np.random.default_rng(0).normal(size=(num_steps, 6, 2))
    noise_fn, x, before_last = _exact_noise_fn(0.2, 0.1, num_steps), draws[0], iter(draws[1:])
    levels = _slow_schedule(num_steps)
    for step in reversed(range(num_steps)):
        alpha, bar = levels[step]
        x = (x - (1.0 - alpha) / math.sqrt(1.0 - bar) * noise_fn(x, step)) / math.sqrt(alpha)
        if step > 0:
            variance = (1.0 - levels[step - 1][1]) / (1.0 - bar) * (1.0 - alpha)
            x = x + math.sqrt(variance) * next(before_last)
    remaining = iter(torch.from_numpy(draws))
    sampled = sample_ancestral(
        variance_preserving_schedule(num_steps), noise_fn, lambda: next(remaining)
    ).numpy()
    np.testing.assert_allclose(sampled, x, atol=1e-5)
    assert next(remaining, None) is None


def test_ancestral_sampling_clips_the_predicted_clean_point():
    """Each draw is of q(x_{t-1} | x_t, x_0), the product of two Gaussians, with x_0 clipped to [-1, 1]."""
    num_steps = 4
    draws = np.random.default_rng(1).normal(size=(num_steps, 20, 2))

    def noise_fn(x, step):
        return 0.3 * x - 0.1 * step

    levels, x, num_clipped = _slow_schedule(num_steps), draws[0], 0
    for step in reversed(range(num_steps)):
        alpha, bar = levels[step]
        clean = (x - math.sqrt(1.0 - bar) * noise_fn(x, step)) / math.sqrt(bar)
        num_clipped += int((abs(clean) > 1.0).sum())
        clean = np.clip(clean, -1.0, 1.0)
        if step > 0:
            before = levels[step - 1][1]
            precision = alpha / (1.0 - alpha) + 1.0 / (1.0 - before)
            mean = math.sqrt(alpha) / (1.0 - alpha) * x + math.sqrt(before) / (1.0 - before) * clean
            x = mean / precision + draws[num_steps - step] / math.sqrt(precision)
    remaining = iter(torch.from_numpy(draws))
    sampled = sample_ancestral(variance_preserving_schedule(num_steps), noise_fn, lambda: next(remaining))
    np.testing.assert_allclose(sampled.numpy(), clean, atol=1e-5)
    assert num_clipped > 20


@pytest.mark.parametrize("num_steps", [1, 5, 30])
def test_ancestral_sampling_of_a_point_mass_gives_the_point(num_steps):
    """The exact predictor leads every noise to the one point there is."""
    generator = torch.Generator().manual_seed(0)
    sampled = sample_ancestral(
        variance_preserving_schedule(num_steps),
        _exact_noise_fn(-0.6, 0.0, num_steps),
        lambda: torch.randn(100, 3, generator=generator),
    )
    torch.testing.assert_close(sampled, torch.full((100, 3), -0.6), rtol=0.0, atol=1e-5)


def test_ancestral_sampling_of_a_gaussian_recovers_mean_and_variance():
    """With the exact predictor of N(0.3, 0.15^2), 2000 steps give it back."""
    num_steps, generator = 2000, torch.Generator().manual_seed(0)
    sampled = sample_ancestral(
        variance_preserving_schedule(num_steps),
        _exact_noise_fn(0.3, 0.15, num_steps),
        lambda: torch.randn(20_000, 1, generator=generator),
    )
    assert float(sampled.mean()) == pytest.approx(0.3, abs=0.005)
    assert float(sampled.std()) == pytest.approx(0.15, rel=0.02)
