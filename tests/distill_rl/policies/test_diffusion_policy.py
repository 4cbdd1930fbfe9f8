import math

import pytest
import torch

from distill_rl.diffusion.ddpm import sample_ancestral, variance_preserving_schedule
from distill_rl.policies.diffusion import DiffusionPolicy


def _make(backbone: str, seed: int = 0) -> DiffusionPolicy:
    torch.manual_seed(seed)
    policy = DiffusionPolicy(3, 2, hidden_sizes=(16, 16), backbone=backbone)
    policy.normalizer.update(torch.randn(20, 3) * 5.0 + 1.0)
    return policy


@pytest.fixture(params=["mlp", "ln_resnet"])
def policy(request) -> DiffusionPolicy:
    return _make(request.param)


def _scale_output(policy: DiffusionPolicy, factor: float) -> None:
    """Multiplies the noise that the network predicts."""
    *_, weight, bias = policy.network.parameters()
    with torch.no_grad():
        weight.mul_(factor)
        bias.mul_(factor)


def test_sample_takes_the_steps_of_the_ancestral_sampler(policy):
    """Five steps on normalised observations, the generator's draws scaled; `num_steps` changes nothing."""
    observation, generator = torch.randn(6, 3), torch.Generator().manual_seed(4)
    normed = (observation - policy.normalizer.mean) / (policy.normalizer.var + 1e-6).sqrt()

    def noise_fn(x, step):
        angles = [step / 10_000 ** (i / 7) for i in range(8)]
        embedding = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
        return policy.network(torch.cat([normed, x, embedding.expand(6, 16)], dim=-1))

    expected = sample_ancestral(
        variance_preserving_schedule(5), noise_fn, lambda: 0.5 * torch.randn(6, 2, generator=generator)
    )
    for num_steps in (1, 9):
        sampled = policy.sample(observation, num_steps, 0.5, torch.Generator().manual_seed(4))
        torch.testing.assert_close(sampled, expected, rtol=1e-4, atol=1e-5)


def test_samples_are_within_bounds(policy):
    """However large the predicted noise, actions stay in [-1, 1], and reach its ends."""
    _scale_output(policy, 20.0)
    sampled = policy.sample(torch.randn(200, 3), generator=torch.Generator().manual_seed(0)).detach()
    assert float(sampled.abs().max()) == 1.0


def test_gradients_flow_through_sampling(policy):
    """They equal finite differences."""
    _scale_output(policy.double(), 0.1)  # or without noise every clean point would be clipped
    inputs = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda seen: policy.sample(seen, noise_scale=0.0), inputs)
    (slope,) = torch.autograd.grad(policy.sample(inputs, noise_scale=0.0).sum(), inputs)
    assert float(slope.abs().max()) > 1e-3


def test_each_step_has_its_own_embedding():
    """No two of them are near each other, even of many, and the prediction depends on them."""
    policy = DiffusionPolicy(3, 2, hidden_sizes=(16,), num_diffusion_steps=100)
    distances = torch.cdist(policy.embeddings, policy.embeddings) + torch.eye(100)
    assert float(distances.min()) > 0.1
    x, observation = torch.randn(2), torch.randn(3)
    first, last = (policy.predict_noise(x, step, observation) for step in (0, 99))
    assert not torch.allclose(first, last, atol=1e-3)


def test_leading_axes_broadcast(policy):
    """One observation for many actions, and one step for all or one each, give what each gives alone."""
    x, observation, step = torch.randn(5, 4, 2), torch.randn(5, 1, 3), torch.randint(5, (5, 4))
    predicted, same = policy.predict_noise(x, step, observation), policy.predict_noise(x, 3, observation)
    assert predicted.shape == same.shape == (5, 4, 2)
    for row in range(5):
        for column in range(4):
            each = x[row, column], observation[row, 0]
            alone = policy.predict_noise(each[0], int(step[row, column]), each[1])
            torch.testing.assert_close(predicted[row, column], alone, rtol=1e-4, atol=1e-5)
            alone = policy.predict_noise(each[0], 3, each[1])
            torch.testing.assert_close(same[row, column], alone, rtol=1e-4, atol=1e-5)


def test_bad_arguments_are_named():
    """Messages name the argument and what came."""
    with pytest.raises(ValueError, match="`num_diffusion_steps` must be an integer of at least 1, got 0"):
        DiffusionPolicy(3, 2, num_diffusion_steps=0)
