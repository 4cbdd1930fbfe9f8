"""Losses of trajectories against closed forms, and what their gradients reach."""

import copy
import math

import pytest
import torch

from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.networks.temporal_unet import TemporalUNet
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper
from learners.trajectory.losses import (
    consistency_trajectory_loss,
    denoising_loss,
    denoising_weight,
    pseudo_huber,
    solve_flow,
    student_denoising_loss,
)

_MEAN, _SCALE = 0.3, 0.5


class GaussianDenoiser:
    """The exact denoiser of `N(0.3, 0.5^2)`."""

    sigma_data = 0.5

    def denoise(self, x_sigma, sigma, condition=None):
        shrink = _SCALE**2 / (_SCALE**2 + sigma.square())
        return _MEAN + shrink[:, None, None] * (x_sigma - _MEAN)


def exact_flow(x, sigma, next_sigma):
    ratio = ((_SCALE**2 + next_sigma**2) / (_SCALE**2 + sigma**2)) ** 0.5
    return _MEAN + ratio[:, None, None] * (x - _MEAN)


def make_network(num_noise_inputs, feature_size=1, seed=0, **settings):
    torch.manual_seed(seed)
    sizes = {"level_sizes": (16,), "kernel_size": 1, "embedding_size": 16} | settings
    return TemporalUNet(feature_size, 0, num_noise_inputs=num_noise_inputs, **sizes)


def test_pseudo_huber_is_of_the_vector():
    difference = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    c = 0.00054 * 2.0
    expected = [math.sqrt(25.0 + c**2) - c, 0.0]
    torch.testing.assert_close(pseudo_huber(difference), torch.tensor(expected))


def test_errors_of_the_network_weigh_alike_at_all_levels():
    """A change of `F` by one everywhere costs the same at any noise level."""
    sigma, x = torch.tensor([0.02, 0.5, 3.0, 80.0]), torch.zeros(4, 2, 1)
    network = make_network(1)
    network.forward = lambda x, *_: torch.zeros_like(x)
    before = TrajectoryDenoiser(network).denoise(x, sigma)
    network.forward = lambda x, *_: torch.ones_like(x)
    change = TrajectoryDenoiser(network).denoise(x, sigma) - before
    cost = denoising_weight(sigma, 0.5) * change.flatten(1).norm(dim=1)
    torch.testing.assert_close(cost, torch.full((4,), math.sqrt(2.0)))
    assert float(denoising_weight(torch.tensor(2.0), 0.5)) == pytest.approx(math.sqrt(4.25))


def test_solver_follows_the_flow_from_each_level_to_its_own():
    sigmas = karras_sigmas(200, 0.02, 20.0).double()
    start, stop = torch.tensor([0, 50, 120]), torch.tensor([199, 150, 120])
    x = torch.randn(3, 2, 1, dtype=torch.float64) * 5.0
    found = solve_flow(GaussianDenoiser(), x, sigmas, start, stop, None)
    torch.testing.assert_close(found, exact_flow(x, sigmas[start], sigmas[stop]), rtol=1e-3, atol=1e-3)
    assert torch.equal(found[2], x[2])


def test_solver_denoises_those_on_their_way_alone_each_by_its_own_condition():
    """Trajectories about a mean that is their condition; an evaluation counts one for each of them."""
    num_denoised = []

    class ConditionedDenoiser(GaussianDenoiser):
        def denoise(self, x_sigma, sigma, condition=None):
            num_denoised.append(len(x_sigma))
            shift = condition[:, None, :] - _MEAN
            return shift + super().denoise(x_sigma - shift, sigma)

    sigmas = karras_sigmas(60, 0.02, 20.0).double()
    start, stop = torch.tensor([0, 20, 40]), torch.tensor([59, 20, 50])
    x = torch.randn(3, 2, 1, dtype=torch.float64) * 5.0
    condition = torch.tensor([[-1.0], [4.0], [2.0]], dtype=torch.float64)
    found = solve_flow(ConditionedDenoiser(), x, sigmas, start, stop, condition)
    shift = condition[:, None, :] - _MEAN
    expected = shift + exact_flow(x - shift, sigmas[start], sigmas[stop])
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    assert sum(num_denoised) == 2 * int((stop - start).sum())


def test_no_jump_is_the_identity():
    """`G(x, s, s) = x` for any weights, and at the smallest level too."""
    student = TrajectoryJumper(make_network(2, feature_size=3))
    x, sigma = torch.randn(4, 5, 3), torch.tensor([0.02, 0.5, 3.0, 80.0])
    torch.testing.assert_close(student.jump(x, sigma, sigma), x)


def test_a_jump_blends_the_point_with_the_denoiser():
    student = TrajectoryJumper(make_network(2))
    x, sigma, next_sigma = torch.randn(2, 4, 1), torch.tensor([2.0, 8.0]), torch.tensor([0.5, 2.0])
    expected = 0.25 * x + 0.75 * student.denoise(x, sigma, next_sigma)
    torch.testing.assert_close(student.jump(x, sigma, next_sigma), expected)


def test_only_the_first_jump_is_differentiated():
    """Against a copy of the student that makes the outer jumps: the same loss, and the same gradient."""
    student, teacher = TrajectoryJumper(make_network(2)), TrajectoryDenoiser(make_network(1))
    sigmas = karras_sigmas(8, 0.02, 80.0)
    clean = torch.randn(6, 4, 1)

    def loss_of(model):
        generator = torch.Generator().manual_seed(3)
        arguments = {"sigmas": sigmas, "num_solver_steps": 2, "generator": generator}
        return consistency_trajectory_loss(model, teacher, clean, None, **arguments)

    loss_of(student).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())

    # The same by a frozen twin: it makes every jump but the one under test.
    twin = copy.deepcopy(student)
    twin.requires_grad_(False)

    class Split(torch.nn.Module):
        sigma_min, sigma_data, calls = 0.02, 0.5, 0

        def jump(self, *arguments):
            self.calls += 1
            return (probe if self.calls == 1 else twin).jump(*arguments)

    probe = copy.deepcopy(student)
    probe.zero_grad()
    loss_of(Split()).backward()
    for one, other in zip(student.parameters(), probe.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_teachers_recover_a_gaussian():
    """The denoiser learned by its loss is the exact one."""
    teacher = TrajectoryDenoiser(make_network(1, level_sizes=(32,)))
    optimizer = torch.optim.Adam(teacher.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for update in range(600):
        if update == 400:
            optimizer.param_groups[0]["lr"] = 2e-4
        clean = _MEAN + _SCALE * torch.randn(256, 1, 1, generator=generator)
        optimizer.zero_grad()
        denoising_loss(teacher, clean, None, generator).backward()
        optimizer.step()
    for level in (0.1, 0.5, 1.0):
        x = _MEAN + torch.linspace(-1.0, 1.0, 9)[:, None, None] * (_SCALE**2 + level**2) ** 0.5
        sigma = torch.full((9,), level)
        with torch.no_grad():
            found = teacher.denoise(x, sigma)
        assert float((found - GaussianDenoiser().denoise(x, sigma)).abs().max()) < 0.08


def test_students_recover_the_flow_of_a_gaussian():
    """From an exact teacher, by the loss of jumps: at once, and from any level to any other."""
    student = TrajectoryJumper(make_network(2, level_sizes=(32,)), sigma_max=5.0)
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    sigmas = karras_sigmas(20, 0.02, 5.0)
    num_updates = 900
    for update in range(num_updates):
        optimizer.param_groups[0]["lr"] = 2e-3 * 0.5 * (1.0 + math.cos(math.pi * update / num_updates))
        clean = _MEAN + _SCALE * torch.randn(128, 1, 1, generator=generator)
        optimizer.zero_grad()
        loss = consistency_trajectory_loss(
            student, GaussianDenoiser(), clean, None, sigmas=sigmas, num_solver_steps=4, generator=generator
        )
        loss.backward()
        optimizer.step()
    # At once to 1e-2; jumps from the middle, as several jumps make them, less near in so few updates.
    for first, last, largest in ((5.0, 0.02, 1e-2), (5.0, 0.5, 3e-2), (1.0, 0.1, 0.1), (0.3, 0.02, 0.1)):
        x = _MEAN + torch.linspace(-1.5, 1.5, 9)[:, None, None] * (_SCALE**2 + first**2) ** 0.5
        levels = torch.full((9,), first), torch.full((9,), last)
        with torch.no_grad():
            error = (student.jump(x, *levels) - exact_flow(x, *levels)).abs()
        assert float(error.max()) < largest


def test_denoising_losses_are_zero_for_a_model_that_knows():
    """Where the data are one point, the exact denoiser returns it."""

    class Point:
        sigma_data, sigma_min, sigma_max = 0.5, 0.02, 80.0

        def denoise(self, x_sigma, sigma, condition=None):
            return torch.full_like(x_sigma, 0.7)

        def jump(self, x_sigma, sigma, next_sigma, condition=None):
            return torch.full_like(x_sigma, 0.7)

    clean, generator = torch.full((8, 2, 1), 0.7), torch.Generator().manual_seed(0)
    assert float(denoising_loss(Point(), clean, None, generator)) == pytest.approx(0.0, abs=1e-6)
    assert float(student_denoising_loss(Point(), clean, None, generator)) == pytest.approx(0.0, abs=1e-6)
