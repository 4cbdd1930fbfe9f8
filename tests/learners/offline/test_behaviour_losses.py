import math

import pytest
import torch
from torch.distributions import Independent, Normal

from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy
from learners.objectives.noise_levels import karras_pairs, scaled_by_gap
from learners.offline.behaviour import ConsistencyLoss, diffusion_loss, gaussian_loss, make_behaviour_loss
from learners.offline.config import LearningConfig
from learners.offline.transitions import TransitionBatch


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(num_rows: int = 64, action_size: int = 2) -> TransitionBatch:
    generator = _generator(1)
    return TransitionBatch(
        observation=torch.randn(num_rows, 3, generator=generator),
        action=torch.rand(num_rows, action_size, generator=generator) * 2.0 - 1.0,
        reward=torch.zeros(num_rows),
        next_observation=torch.zeros(num_rows, 3),
        is_terminal=torch.zeros(num_rows),
    )


class _Recorder(ConsistencyPolicy):
    """Keeps what it is asked to denoise, and answers a fixed multiple of it."""

    def __init__(self, factor: float):
        super().__init__(3, 2, hidden_sizes=(8,))
        self.factor = factor
        self.asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def denoise(self, x_sigma, sigma, observation):
        self.asked.append((x_sigma, sigma))
        return self.factor * x_sigma


class _Exact(DiffusionPolicy):
    """Knows the clean actions, and so the noise in noisy ones."""

    def __init__(self, clean: torch.Tensor, num_diffusion_steps: int):
        super().__init__(3, 2, hidden_sizes=(8,), num_diffusion_steps=num_diffusion_steps)
        self.clean = clean
        self.steps: list[int] = []

    def predict_noise(self, x, step, observation):
        self.steps += step.tolist()
        kept = self.alpha_bar[step].unsqueeze(-1)
        return (x - kept.sqrt() * self.clean) / (1.0 - kept).sqrt()


@pytest.mark.parametrize(
    ("kind", "loss_type"),
    [
        ("gaussian", gaussian_loss),
        ("diffusion", diffusion_loss),
        ("consistency", ConsistencyLoss),
    ],
)
def test_each_kind_of_policy_has_its_loss(kind, loss_type):
    """The name in the configuration decides."""
    loss_fn = make_behaviour_loss(LearningConfig(policy=kind))
    assert loss_fn is loss_type or type(loss_fn) is loss_type


@pytest.mark.parametrize("kind", ["gaussian", "diffusion", "consistency"])
def test_losses_follow_the_seed_and_train_only_the_policy(kind):
    """Equal seeds give equal losses, and every weight of the policy alone gets a gradient."""
    types = {"gaussian": GaussianPolicy, "diffusion": DiffusionPolicy, "consistency": ConsistencyPolicy}
    torch.manual_seed(0)
    policy, target = (types[kind](3, 2, hidden_sizes=(16,)) for _ in range(2))
    loss_fn = make_behaviour_loss(LearningConfig(policy=kind))
    losses = [loss_fn(policy, target, _batch(), update=50_000, generator=_generator(s)) for s in (3, 3, 4)]
    assert losses[0].item() == losses[1].item()
    assert kind == "gaussian" or losses[0].item() != losses[2].item()
    losses[0].backward()
    assert all(bool(torch.isfinite(p.grad).all()) and bool(p.grad.any()) for p in policy.parameters())
    assert all(p.grad is None for p in target.parameters())


def test_gaussian_loss_is_the_negative_log_likelihood():
    """That of `torch.distributions`, mean over the batch, sum over the dimensions of an action."""
    torch.manual_seed(0)
    policy, batch = GaussianPolicy(3, 2, hidden_sizes=(16,)), _batch()
    mean, log_std = policy.parameters_of(batch.observation)
    expected = -Independent(Normal(mean, log_std.exp()), 1).log_prob(batch.action).mean()
    loss = gaussian_loss(policy, policy, batch, update=0, generator=_generator())
    torch.testing.assert_close(loss, expected)


def test_diffusion_loss_is_that_of_the_loop():
    """Each row: its own step and noise, both from the generator in this order, squared errors averaged."""
    torch.manual_seed(0)
    policy, batch = DiffusionPolicy(3, 2, hidden_sizes=(16,), num_diffusion_steps=5), _batch(12)
    generator = _generator(7)
    steps = torch.randint(5, (12,), generator=generator).tolist()
    noise = torch.randn(12, 2, generator=generator)
    errors = []
    for row, step in enumerate(steps):
        kept = math.exp(-sum(0.1 / 5 + 9.9 * (2 * t - 1) / 50 for t in range(1, step + 2)))
        noisy = math.sqrt(kept) * batch.action[row] + math.sqrt(1.0 - kept) * noise[row]
        predicted = policy.predict_noise(noisy[None], step, batch.observation[row : row + 1])[0]
        errors += ((predicted - noise[row]) ** 2).tolist()
    loss = diffusion_loss(policy, policy, batch, update=0, generator=_generator(7))
    assert loss.item() == pytest.approx(sum(errors) / 24, rel=1e-5)


def test_exact_noise_has_no_diffusion_loss():
    """At every one of the steps, which come about equally often; a wrong answer has a loss."""
    batch = _batch(4_000)
    exact = _Exact(batch.action, 4)
    loss = diffusion_loss(exact, exact, batch, update=0, generator=_generator())
    assert float(loss) < 1e-8
    shares = torch.bincount(torch.tensor(exact.steps), minlength=4) / 4_000
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.03, rtol=0.0)
    wrong = _Exact(-batch.action, 4)
    assert float(diffusion_loss(wrong, wrong, batch, update=0, generator=_generator())) > 0.1


@pytest.mark.parametrize("loss_scale", [100.0, 3.0, None])
def test_consistency_loss_is_the_weighted_distance_of_neighbours(loss_scale):
    """`loss_scale / (s' - s) |D(x + s' z) - D_target(x + s z)|^2 / A`, one noise for both, averaged."""
    batch = _batch()
    policy, target = _Recorder(0.5), _Recorder(0.25)
    loss_fn = ConsistencyLoss(LearningConfig(loss_scale=loss_scale))
    loss = loss_fn(policy, target, batch, update=50_000, generator=_generator())
    (x_sigma, sigma), (next_x, next_sigma) = policy.asked[0], target.asked[0]
    assert len(policy.asked) == len(target.asked) == 1
    total = 0.0
    for row in range(64):
        action, upper, lower = batch.action[row], float(sigma[row, 0]), float(next_sigma[row, 0])
        assert upper > lower
        noise = (x_sigma[row, 0] - action) / upper
        torch.testing.assert_close((next_x[row, 0] - action) / lower, noise, rtol=1e-2, atol=1e-3)
        distance = float(((0.5 * x_sigma[row, 0] - 0.25 * next_x[row, 0]) ** 2).sum())
        total += (1.0 if loss_scale is None else loss_scale / (upper - lower)) * distance
    assert float(loss) == pytest.approx(total / 64 / 2, rel=1e-4)


def test_pairs_scaled_by_their_gap_are_the_same_pairs():
    """Only the weight differs, whatever it was before."""
    arguments = ((50, 2), 300, 0.002, 80.0)
    plain = karras_pairs(None, 1_000)(*arguments, _generator())
    pairs = scaled_by_gap(karras_pairs(None, 1_000), 7.0)(*arguments, _generator())
    assert torch.equal(pairs.sigma, plain.sigma) and torch.equal(pairs.next_sigma, plain.next_sigma)
    torch.testing.assert_close(pairs.weight * (pairs.sigma - pairs.next_sigma), torch.full((50, 2), 7.0))
    assert torch.equal(plain.weight, torch.ones(50, 2))


@pytest.mark.parametrize("has_restarts", [False, True])
def test_noise_levels_grow_as_published_and_start_anew_if_asked(has_restarts):
    """`N(k) = ceil(sqrt(k / K (151^2 - 4) + 4) - 1) + 1`: saw teeth with restarts, else a ramp that stays."""
    config = LearningConfig(curriculum_updates=100, has_curriculum_restarts=has_restarts)
    loss_fn, batch = ConsistencyLoss(config), _batch(6_000)
    for update in (0, 1, 10, 50, 99, 100, 110, 199, 200, 250):
        policy, target = _Recorder(0.5), _Recorder(0.5)
        loss_fn(policy, target, batch, update=update, generator=_generator(update))
        k = update % 100 if has_restarts else min(update, 100)
        num_levels = math.ceil(math.sqrt(k / 100 * (151**2 - 4) + 4) - 1.0) + 1
        drawn = torch.cat([policy.asked[0][1], target.asked[0][1]]).unique()
        torch.testing.assert_close(drawn, karras_sigmas(num_levels, 0.002, 80.0).flip(0))
