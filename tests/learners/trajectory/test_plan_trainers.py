"""Planners on walks along a line, which start and goal determine."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.policies.plan_sampling import diffusion_sampler, jump_sampler
from learners.trajectory.plan_config import PlanConfig
from learners.trajectory.plan_trainers import (
    GoalRewardTrainer,
    PlanGuideTrainer,
    PlanStudentTrainer,
    PlanTeacherTrainer,
    goal_rewards,
)
from learners.trajectory.plan_windows import PlanBatch

_STEPS = 8
_CONFIG = PlanConfig(
    num_steps=_STEPS,
    level_sizes=(16,),
    guide_level_sizes=(16,),
    kernel_size=3,
    embedding_size=16,
    reward_hidden_sizes=(32, 32),
    num_levels=12,
    batch_size=32,
    learning_rate=3e-3,
    ema_decay=0.98,
)


def make_batch(generator, num_plans=32):
    """Straight lines at even speed: the goal is near in the last quarter."""
    ends = generator.uniform(-1.0, 1.0, (num_plans, 2, 1))
    share = np.linspace(0.0, 1.0, _STEPS)[None, :, None]
    plan = (ends[:, :1] + share * (ends[:, 1:] - ends[:, :1])).astype(np.float32)
    is_near = np.abs(plan - plan[:, -1:])[..., 0] <= 0.3
    return PlanBatch(plan=plan, goal_return=is_near.astype(np.float32))


def train(trainer, num_updates):
    generator = np.random.default_rng(0)
    for _ in range(num_updates):
        metrics = trainer.update(make_batch(generator))
    return metrics


def errors(plan, ends):
    """Distances from straight lines."""
    first, last = ends[:, None, :1], ends[:, None, 1:]
    return (plan - first - torch.linspace(0.0, 1.0, _STEPS)[None, :, None] * (last - first)).abs()


@pytest.fixture(scope="module")
def teacher():
    trainer = PlanTeacherTrainer(1, _CONFIG, seed=0)
    train(trainer, 300)
    return trainer.ema


@pytest.fixture(scope="module")
def reward_model():
    trainer = GoalRewardTrainer(1, _CONFIG, seed=0)
    assert train(trainer, 400)["reward_loss"] < 0.08
    return trainer.ema


@pytest.fixture
def ends():
    return torch.rand(200, 2, generator=torch.Generator().manual_seed(3)) * 2.0 - 1.0


def test_the_teacher_plans_lines(teacher, ends):
    sigmas = torch.cat([karras_sigmas(12, 0.002, 80.0), torch.zeros(1)])
    sample = diffusion_sampler(teacher, _STEPS, "heun", sigmas, torch.Generator().manual_seed(0))
    assert float(errors(sample(ends), ends).mean()) < 0.1


def test_students_plan_lines_and_with_a_reward_arrive_earlier(teacher, reward_model, ends):
    """In one jump; teacher and reward model are not touched."""
    before = copy.deepcopy((teacher.state_dict(), reward_model.state_dict()))
    rewards = {}
    for weight in (0.0, 20.0):
        config = dataclasses.replace(_CONFIG, reward_weight=weight)
        trainer = PlanStudentTrainer(1, config, 1, teacher=teacher, reward_model=reward_model)
        assert ("return_loss" in train(trainer, 150)) == (weight > 0.0)
        plan = jump_sampler(trainer.ema, _STEPS, torch.Generator().manual_seed(0))(ends)
        if weight == 0.0:
            assert float(errors(plan, ends).mean()) < 0.2
        rewards[weight] = float(((plan - plan[:, -1:]).abs() <= 0.3).float().mean())
    assert rewards[20.0] > rewards[0.0] + 0.05
    for model, saved in zip((teacher, reward_model), before, strict=True):
        assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_the_reward_model_knows_the_goal(reward_model):
    plan = torch.tensor([[[0.8], [0.2], [0.1], [0.0]], [[0.0], [0.3], [0.9], [0.9]]])
    with torch.no_grad():
        found = goal_rewards(reward_model, plan)
    expected = torch.tensor([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert float((found - expected).abs().max()) < 0.45


def test_the_guide_predicts_the_return_of_noisy_plans():
    trainer = PlanGuideTrainer(1, _CONFIG, seed=0)
    train(trainer, 300)
    batch = make_batch(np.random.default_rng(9), 256)
    plan, ends = torch.from_numpy(batch.plan), torch.from_numpy(batch.ends)
    with torch.no_grad():
        found = trainer.ema(plan + 0.1 * torch.randn(plan.shape), torch.full((256,), 0.1), ends)
    truth = torch.from_numpy(batch.goal_return.mean(axis=1))
    assert float((found - truth).square().mean()) < 0.2 * float(truth.var())


def test_a_student_needs_a_reward_model_for_a_weight(teacher):
    with pytest.raises(ValueError, match="`reward_model` must be given"):
        PlanStudentTrainer(1, _CONFIG, 0, teacher=teacher)


def test_a_schedule_scales_the_steps():
    """The first step is that of constant sizes, half-way they are half of it, at the end weights stand."""
    scheduled, plain = (GoalRewardTrainer(1, _CONFIG, seed=0) for _ in range(2))
    start = copy.deepcopy(scheduled.online.state_dict())
    scheduled.decay_learning_rate(2)
    train(scheduled, 1), train(plain, 1)
    for one, other in zip(scheduled.online.parameters(), plain.online.parameters(), strict=True):
        assert torch.equal(one, other)
    scheduled.decay_learning_rate(2)
    rate = scheduled.config.learning_rate
    assert [group["lr"] for group in scheduled._optimizer.param_groups] == pytest.approx([0.5 * rate])
    train(scheduled, 1)
    last = copy.deepcopy(scheduled.online.state_dict())
    assert any(not torch.equal(value, start[name]) for name, value in last.items())
    for _ in range(2):
        scheduled.decay_learning_rate(2)
        train(scheduled, 1)
    assert all(torch.equal(value, last[name]) for name, value in scheduled.online.state_dict().items())


def test_rewards_of_another_shape_are_refused():
    batch = make_batch(np.random.default_rng(0), 4)
    batch = dataclasses.replace(batch, goal_return=batch.goal_return[:, :1])
    with pytest.raises(ValueError, match=r"`goal_return` must have shape \[4, 8\], got \[4, 1\]"):
        GoalRewardTrainer(1, _CONFIG, seed=0).update(batch)
