import math

import pytest
import torch

from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.types import ReferenceSet
from learners.config import (
    CLOSED_FORM_POSTERIORS,
    OBJECTIVE_NAMES,
    POSTERIOR_NAMES,
    DistillationConfig,
)
from learners.density_posterior import DENSITY_POSTERIORS
from learners.objectives import OBJECTIVES, ConsistencyObjective, make_objective
from learners.objectives.consistency import ode_step
from learners.objectives.noise_levels import karras_pairs
from learners.posterior import POSTERIORS, NoisyReference, importance, single_sample
from learners.reference_ode import reference_endpoints


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(num_states: int = 6, density: bool = False) -> ReferenceSet:
    generator = _generator(1)
    log_probs = torch.randn(num_states, 5, generator=generator).log_softmax(-1)
    return ReferenceSet(
        observation=torch.randn(num_states, 3, generator=generator),
        actions=torch.rand(num_states, 5, 2, generator=generator) * 2 - 1,
        log_probs=log_probs,
        log_proposals=0.5 * log_probs if density else torch.zeros(num_states, 5),
        value=torch.zeros(num_states),
        policy_value=torch.zeros(num_states),
        policy_version=0,
        convention="density" if density else "mass",
    )


@pytest.fixture
def policies() -> tuple[ConsistencyPolicy, ConsistencyPolicy]:
    torch.manual_seed(0)
    return ConsistencyPolicy(3, 2, hidden_sizes=(16,)), ConsistencyPolicy(3, 2, hidden_sizes=(16,))


def _pairs() -> list[tuple[str, str]]:
    every = [(o, p) for o in OBJECTIVE_NAMES for p in POSTERIORS]
    return [(o, p) for o, p in every if o not in ("endpoint", "energy") or p in CLOSED_FORM_POSTERIORS]


def test_registries_hold_the_configured_names():
    """Every name that a configuration accepts exists, and no other."""
    assert set(OBJECTIVES) == set(OBJECTIVE_NAMES)
    assert {*POSTERIORS, *DENSITY_POSTERIORS} == set(POSTERIOR_NAMES)


@pytest.mark.parametrize(("objective", "posterior"), _pairs())
def test_every_objective_gives_a_finite_seeded_loss_that_trains_only_the_policy(
    policies, objective, posterior
):
    """Equal seeds give equal losses, other seeds others; only the online policy gets gradients."""
    policy, target = policies
    loss_fn = make_objective(DistillationConfig(objective=objective, posterior=posterior, num_noises=2))
    losses = [
        loss_fn(policy, target, _batch(density=True), update=0, generator=_generator(s)) for s in (3, 3, 4)
    ]
    assert losses[0].item() == losses[1].item() != losses[2].item()
    losses[0].backward()
    assert all(bool(torch.isfinite(p.grad).all()) and bool(p.grad.any()) for p in policy.parameters())
    assert all(p.grad is None for p in target.parameters())


def test_endpoint_loss_is_the_distance_to_the_ode_end_points(policies):
    """The loss written out with the same noise; `importance` leaves the proposals out."""
    policy, target = policies
    batch = _batch(density=True)
    noise = torch.randn(6, 2, 2, generator=_generator())
    predicted = policy.denoise(80.0 * noise, 80.0, batch.observation[:, None])
    for posterior, log_weights in (
        ("proposal_corrected", batch.log_probs - batch.log_proposals),
        ("importance", batch.log_probs),
    ):
        ends = reference_endpoints(batch.actions, log_weights, noise, num_steps=8)
        expected = ((predicted - ends) ** 2).sum() / 12
        config = DistillationConfig(posterior=posterior, num_noises=2, zero_noise_fraction=0.0)
        loss_fn = make_objective(config)
        loss = loss_fn(policy, target, batch, update=0, generator=_generator())
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("fraction", "num_zero"), [(0.5, 3), (1.0, 6), (0.1, 1)])
def test_a_share_of_the_states_is_trained_at_zero_noise(policies, fraction, num_zero):
    """The first states of a batch see zero noise, and the mean of p*; the others their end points."""
    policy, target = policies
    batch = _batch()
    noise = torch.randn(6, 1, 2, generator=_generator())
    noise[:num_zero] = 0.0
    ends = reference_endpoints(batch.actions, batch.log_probs, noise, num_steps=8)
    for b in range(num_zero):
        ends[b, 0] = sum(p.exp() * a for p, a in zip(batch.log_probs[b], batch.actions[b]))
    predicted = policy.denoise(80.0 * noise, 80.0, batch.observation[:, None])
    loss_fn = make_objective(DistillationConfig(zero_noise_fraction=fraction))
    loss = loss_fn(policy, target, batch, update=0, generator=_generator())
    torch.testing.assert_close(loss, ((predicted - ends) ** 2).sum() / 6)


class _Recorder(ConsistencyPolicy):
    """Keeps the arguments of `denoise`."""

    def denoise(self, x_sigma, sigma, observation):
        self.seen = (x_sigma, sigma)
        return super().denoise(x_sigma, sigma, observation)


def test_plain_consistency_target_is_a1():
    """Euler with the source: the target sees x + t_n z where the policy sees x + t_{n+1} z (Appendix A.1)."""
    policy, target = _Recorder(3, 2, hidden_sizes=(8,)), _Recorder(3, 2, hidden_sizes=(8,))
    loss_fn = ConsistencyObjective(single_sample, karras_pairs(10, 1), num_noises=3)
    batch = _batch()
    loss = loss_fn(policy, target, batch, update=0, generator=_generator())
    (x, sigma), (next_x, next_sigma) = policy.seen, target.seen
    grid = karras_sigmas(10, 0.002, 80.0)
    level = (grid - sigma.unsqueeze(-1)).abs().argmin(-1)
    assert torch.equal(next_sigma, grid[level + 1])
    # Both points lie on one ray from one candidate: x = source + sigma z, next_x = source + next_sigma z.
    z = (x - next_x) / (sigma - next_sigma).unsqueeze(-1)
    source = x - sigma.unsqueeze(-1) * z
    distance = (source.unsqueeze(2) - batch.actions.unsqueeze(1)).norm(dim=-1).amin(-1)
    assert float(distance.max()) < 1e-3
    difference = policy.denoise(x, sigma, batch.observation[:, None]) - ConsistencyPolicy.denoise(
        target, next_x, next_sigma, batch.observation[:, None]
    )
    torch.testing.assert_close(loss, (difference**2).sum(-1).mean())


def test_heun_step_of_the_source_is_eulers():
    """With the source as the estimate the ODE is a straight line, and both solvers are exact."""
    x, sigma, next_sigma = torch.randn(4, 2), torch.full((4,), 2.0), torch.full((4,), 0.5)
    source = torch.randn(4, 2)
    steps = [ode_step(lambda *_: source, x, sigma, next_sigma, is_heun=h) for h in (False, True)]
    torch.testing.assert_close(steps[0], steps[1])
    torch.testing.assert_close(steps[0], source + (x - source) * 0.25)


def test_heun_step_is_second_order():
    """On the ODE of Gaussian data, halving the step divides Heun's local error by 8 and Euler's by 4."""

    def mean_fn(x, sigma):
        return x * 0.25 / (0.25 + sigma.unsqueeze(-1) ** 2)

    x, sigma = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for is_heun, ratio in ((False, 4.0), (True, 8.0)):
        errors = []
        for step in (0.02, 0.01):
            exact = math.sqrt((0.25 + (1 - step) ** 2) / 1.25)
            errors.append(abs(float(ode_step(mean_fn, x, sigma, sigma - step, is_heun=is_heun)) - exact))
        assert errors[0] / errors[1] == pytest.approx(ratio, rel=0.1)


def test_pseudo_huber_is_near_the_norm():
    """Far above its constant, sqrt(d^2 + c^2) - c is |d| - c; L2 is d^2."""
    policy, target = _Recorder(3, 2, hidden_sizes=(8,)), _Recorder(3, 2, hidden_sizes=(8,))
    batch, c = _batch(), 0.00054 * math.sqrt(2)
    huber = ConsistencyObjective(importance, karras_pairs(10, 1), is_pseudo_huber=True)
    loss = huber(policy, target, batch, update=0, generator=_generator())
    observation = batch.observation[:, None]
    difference = policy.denoise(*policy.seen, observation) - target.denoise(*target.seen, observation)
    norm = difference.norm(dim=-1)
    torch.testing.assert_close(loss, ((norm**2 + c**2).sqrt() - c).mean())


def test_adaptive_schedule_uses_two_levels_at_first():
    """N(0) = 2: the policy is only seen at sigma_max and its target at sigma_min."""
    policy, target = _Recorder(3, 2, hidden_sizes=(8,)), _Recorder(3, 2, hidden_sizes=(8,))
    config = DistillationConfig(objective="consistency", noise_level_schedule="adaptive", schedule_updates=10)
    loss_fn = make_objective(config)
    loss_fn(policy, target, _batch(), update=0, generator=_generator())
    assert set(policy.seen[1].flatten().tolist()) == {80.0}
    loss_fn(policy, target, _batch(), update=10, generator=_generator())
    assert len(set(policy.seen[1].flatten().tolist())) > 2


def test_denoising_regresses_onto_the_papers_estimate(policies):
    """Alg. 1: |D(x + sigma z) - mu_hat|^2 with mu_hat from Eq. (2) at the policy's own input."""
    policy, target = _Recorder(3, 2, hidden_sizes=(8,)), policies[1]
    config = DistillationConfig(objective="denoising", posterior="importance", num_noises=3)
    batch = _batch()
    loss = make_objective(config)(policy, target, batch, update=0, generator=_generator())
    x, sigma = policy.seen
    reference = (batch.actions, batch.log_probs, batch.log_proposals)
    estimate = importance(NoisyReference(*reference, x, sigma, x, _generator()))
    expected = (policy.denoise(x, sigma, batch.observation[:, None]) - estimate).square().sum(-1).mean()
    torch.testing.assert_close(loss, expected)


def test_energy_score_agrees_with_a_loop(policies):
    """The double sums of Gneiting & Raftery (2007), Section 4.3, one pair at a time."""
    policy, target = policies
    batch = _batch(density=True)
    noise = torch.randn(6, 3, 2, generator=_generator())
    samples = policy.denoise(80.0 * noise, 80.0, batch.observation[:, None])
    for posterior, log_weights in (
        ("proposal_corrected", batch.log_probs - batch.log_proposals),
        ("importance", batch.log_probs),
    ):
        weights = log_weights.softmax(-1)
        total = 0.0
        for b in range(6):
            for k in range(3):
                for i in range(5):
                    total += weights[b, i] * (samples[b, k] - batch.actions[b, i]).norm() / 3
                for other in range(3):
                    if other != k:
                        total -= 0.5 * (samples[b, k] - samples[b, other]).norm() / 6
        config = DistillationConfig(
            objective="energy", posterior=posterior, num_noises=3, zero_noise_fraction=0.0
        )
        loss = make_objective(config)(policy, target, batch, update=0, generator=_generator())
        torch.testing.assert_close(loss, total / 6, rtol=1e-4, atol=1e-5)


class _Scaled:
    """A one-dimensional policy `y = scale * z`: all that the losses ask of a policy."""

    sigma_min, sigma_max = 0.002, 80.0

    def __init__(self, scale):
        self.scale = torch.tensor(scale, requires_grad=True)

    def denoise(self, x_sigma, sigma, observation):
        return self.scale * x_sigma / sigma


@pytest.mark.parametrize(("objective", "is_right"), [("energy", True), ("endpoint", False)])
def test_energy_score_is_right_for_small_sets_and_end_points_are_not(objective, is_right):
    """Sets of 4 from N(0, 0.3^2): at the true scale the energy score is stationary, end points pull it in."""
    policy = _Scaled(0.3)
    actions = 0.3 * torch.randn(40_000, 4, 1, generator=_generator(1))
    zeros = torch.zeros(40_000, 4)
    batch = ReferenceSet(
        torch.zeros(40_000, 1), actions, zeros, zeros, zeros[:, 0], zeros[:, 0], 0, "density"
    )
    config = DistillationConfig(objective=objective, num_noises=4, zero_noise_fraction=0.0)
    loss = make_objective(config)(policy, policy, batch, update=0, generator=_generator())
    (slope,) = torch.autograd.grad(loss, policy.scale)
    assert (abs(float(slope)) < 0.01) == is_right
    assert is_right or float(slope) > 0.02


@pytest.mark.parametrize(("fraction", "num_zero"), [(0.5, 3), (1.0, 6)])
def test_energy_takes_the_mean_of_the_set_where_there_is_no_noise(policies, fraction, num_zero):
    """The first states of a batch: squared distance to the mean of p*; the others their energy score."""
    policy, target = policies
    batch = _batch()
    noise = torch.randn(6, 2, 2, generator=_generator())
    noise[:num_zero] = 0.0
    samples = policy.denoise(80.0 * noise, 80.0, batch.observation[:, None])
    total = 0.0
    for b, (log_probs, actions) in enumerate(zip(batch.log_probs, batch.actions)):
        probs = log_probs.exp()
        if b < num_zero:
            total += (samples[b, 0] - sum(p * a for p, a in zip(probs, actions))).square().sum()
        else:
            total += sum(p * (y - a).norm() / 2 for p, a in zip(probs, actions) for y in samples[b])
            total -= 0.5 * (samples[b, 0] - samples[b, 1]).norm()
    config = DistillationConfig(objective="energy", num_noises=2, zero_noise_fraction=fraction)
    loss = make_objective(config)(policy, target, batch, update=0, generator=_generator())
    torch.testing.assert_close(loss, total / 6, rtol=1e-4, atol=1e-5)
