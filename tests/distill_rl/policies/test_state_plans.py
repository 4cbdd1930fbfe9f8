"""Plans keep their ends; samplers and executions of plans."""

import numpy as np
import pytest
import torch

from distill_rl.datasets.state_limits import StateLimits
from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.networks.plan_networks import PlanReturn, PlanUNet, inpaint
from distill_rl.policies.plan_sampling import (
    diffusion_sampler,
    interpolate_plans,
    jump_sampler,
    plan_states,
    return_gradient,
)
from distill_rl.policies.state_plans import PlanDenoiser, PlanJumper

_SIZES = {"level_sizes": (8, 16), "kernel_size": 3, "embedding_size": 8}
_SIGMAS = torch.cat([karras_sigmas(6, 0.002, 80.0), torch.zeros(1)])


@pytest.fixture
def models():
    torch.manual_seed(0)
    denoiser = PlanDenoiser(PlanUNet(4, 1, **_SIZES))
    jumper = PlanJumper(PlanUNet(4, 2, **_SIZES))
    return denoiser, jumper, PlanReturn(4, **_SIZES)


@pytest.fixture
def ends():
    return torch.rand(3, 8, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0


def assert_ends(plan, ends):
    """To the bit."""
    assert torch.equal(plan[:, 0], ends[:, :4]) and torch.equal(plan[:, -1], ends[:, 4:])


def test_inpainting_sets_the_ends_alone(ends):
    plan = torch.randn(3, 6, 4)
    painted = inpaint(plan, ends)
    assert_ends(painted, ends)
    assert torch.equal(painted[:, 1:-1], plan[:, 1:-1])


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "euler", "heun", "dpm_solver_pp"])
def test_many_steps_keep_the_ends(models, ends, sampler):
    denoiser, _, guide = models
    settings = {"guide": guide, "guidance_scale": 5.0} if sampler == "ddpm" else {}
    generator = torch.Generator().manual_seed(0)
    plan = diffusion_sampler(denoiser, 8, sampler, _SIGMAS, generator, **settings)(ends)
    assert plan.shape == (3, 8, 4)
    assert_ends(plan, ends)


@pytest.mark.parametrize("sigmas", [(), (3.0, 0.6, 0.1)])
def test_jumps_keep_the_ends(models, ends, sigmas):
    generator = torch.Generator().manual_seed(0)
    assert_ends(jump_sampler(models[1], 8, generator, sigmas)(ends), ends)


@pytest.mark.parametrize("level", [0.002, 0.5, 80.0])
def test_models_keep_the_ends_at_every_level_and_see_them(models, ends, level):
    """Whatever noise stands there makes no difference; other ends do, next to a noise of 80 too."""
    denoiser, jumper, _ = models
    x, sigma = level * torch.randn(3, 8, 4), torch.full((3,), level)
    noisier = inpaint(x, 10.0 * level * torch.randn(3, 8))
    for model in (
        lambda x, ends: denoiser.denoise(x, sigma, ends),
        lambda x, ends: jumper.jump(x, sigma, 0.5 * sigma, ends),
    ):
        plan = model(x, ends)
        assert_ends(plan, ends)
        assert torch.equal(plan, model(noisier, ends))
        inner = plan[:, 1:-1] - model(x, -ends)[:, 1:-1]
        assert float(inner.detach().abs().max()) > 1e-3 * min(level, 1.0)


def test_the_gradient_of_the_return_is_that_of_differences(models, ends):
    guide = models[2].double()
    x, sigma = torch.randn(3, 8, 4, dtype=torch.float64), torch.full((3,), 0.7, dtype=torch.float64)
    found = return_gradient(guide, x, 0.7, ends.double())
    assert not found[:, [0, -1]].any()
    for entry in [(0, 2, 1), (2, 5, 3)]:
        step = torch.zeros_like(x)
        step[entry] = 1e-5
        with torch.no_grad():
            up, down = (guide(x + sign * step, sigma, ends.double())[entry[0]] for sign in (1, -1))
        assert float(found[entry]) == pytest.approx(float(up - down) / 2e-5, rel=1e-4, abs=1e-9)


def test_a_guide_moves_plans_and_without_scale_does_not(models, ends):
    denoiser, _, guide = models

    def plan_with(**settings):
        generator = torch.Generator().manual_seed(0)
        return diffusion_sampler(denoiser, 8, "ddpm", _SIGMAS, generator, **settings)(ends)

    assert torch.equal(plan_with(), plan_with(guide=guide, guidance_scale=0.0))
    assert not torch.allclose(plan_with(), plan_with(guide=guide, guidance_scale=1.0))


def test_planning_scales_states_there_and_back(ends):
    """By a sampler that draws the straight line between the scaled ends."""
    limits = StateLimits(low=np.array([0.0, -1.0]), high=np.array([4.0, 1.0]))

    def straight(ends):
        first, last = ends.chunk(2, dim=1)
        share = torch.linspace(0.0, 1.0, 5)[None, :, None]
        return first[:, None] + share * (last - first)[:, None]

    start, goal = np.array([[0.0, 1.0], [4.0, 0.0]]), np.array([[4.0, 0.0], [2.0, 0.0]])
    plans = plan_states(straight, limits, start, goal)
    np.testing.assert_allclose(plans, np.linspace(start, goal, 5, axis=1), atol=1e-6)


@pytest.mark.parametrize("stride", [1, 4])
def test_states_between_those_of_a_plan_are_on_straight_lines(stride):
    plans = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    found = interpolate_plans(plans, stride)
    assert found.shape == (3, 4 * stride + 1, 2)
    np.testing.assert_array_equal(found[:, ::stride], plans)
    steps = np.arange(4 * stride + 1)
    for plan, filled in zip(plans, found, strict=True):
        for entry in range(2):
            expected = np.interp(steps, stride * np.arange(5), plan[:, entry])
            np.testing.assert_allclose(filled[:, entry], expected, atol=1e-6)
    with pytest.raises(ValueError, match="stride"):
        interpolate_plans(plans, 0)


def test_ends_that_do_not_fit_are_refused(ends):
    """Other numbers of states or entries, a plan of one step, and what is not finite."""
    plan = torch.zeros(3, 8, 4)
    for wrong in (ends[:1], ends[:, :4]):
        with pytest.raises(ValueError, match=r"`ends` must have shape \[3, 8\]"):
            inpaint(plan, wrong)
    with pytest.raises(ValueError, match="`plan` must have 2 steps or more, got 1"):
        inpaint(plan[:, :1], ends)
    limits = StateLimits(low=np.zeros(2), high=np.ones(2))
    start = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match=r"`goal` must have shape \[3, 2\], got \[3, 1\]"):
        plan_states(None, limits, start, start[:, :1])
    with pytest.raises(ValueError, match="`start` must be finite, got 1"):
        plan_states(None, limits, np.where(np.eye(3, 2, -2) > 0, np.nan, start), start)
