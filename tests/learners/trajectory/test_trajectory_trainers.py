"""The three stages on actions with two modes, of which one leads to more."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from distill_rl.diffusion.multistep import sample_diffusion
from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.networks.reward import RewardModel
from distill_rl.networks.trajectory_networks import ConditionedUNet, warm_start
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper
from learners.trajectory.chunks import ChunkBatch
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.trainers import RewardTrainer, StudentTrainer, TeacherTrainer, return_loss

_CONFIG = TrajectoryConfig(
    num_steps=2,
    level_sizes=(16,),
    kernel_size=1,
    embedding_size=16,
    reward_hidden_sizes=(16,),
    num_levels=12,
    num_solver_steps=3,
    sigma_max=5.0,
    batch_size=128,
    learning_rate=2e-3,
    ema_decay=0.99,
)


def make_batch(generator, num_states=128):
    """Actions are -0.5 or 0.5 all along, whatever the state; the upper ones lead to more."""
    mode = generator.choice([-1.0, 1.0], num_states).astype(np.float32)
    actions = 0.5 * mode[:, None, None] + 0.05 * generator.normal(size=(num_states, 2, 1)).astype(np.float32)
    observation = generator.normal(size=(num_states, 3)).astype(np.float32)
    return ChunkBatch(observation=observation, actions=actions.astype(np.float32), return_to_go=mode)


def train(trainer, num_updates, seed=0):
    generator = np.random.default_rng(seed)
    for _ in range(num_updates):
        metrics = trainer.update(make_batch(generator))
    return metrics


@pytest.fixture(scope="module")
def teacher():
    trainer = TeacherTrainer(3, 1, _CONFIG, seed=0)
    train(trainer, 400)
    return trainer.ema


@pytest.fixture(scope="module")
def reward_model():
    trainer = RewardTrainer(3, 1, _CONFIG, seed=0)
    assert train(trainer, 300)["reward_loss"] < 0.1
    return trainer.ema


def test_the_teacher_has_both_modes(teacher):
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(400, 3, generator=generator)
    sigmas = torch.cat([karras_sigmas(20, 0.02, 5.0), torch.zeros(1)])
    with torch.no_grad():
        drawn = sample_diffusion(
            "heun",
            lambda x, sigma: teacher.denoise(x, torch.full((400,), sigma), observation),
            5.0 * torch.randn(400, 2, 1, generator=generator),
            sigmas,
        )
    first = drawn[:, 0, 0]
    assert 0.3 < float((first > 0).float().mean()) < 0.7
    assert float((first.abs() - 0.5).abs().median()) < 0.1


@pytest.mark.parametrize(("reward_weight", "least", "most"), [(0.0, 0.25, 0.75), (1.0, 0.9, 1.0)])
def test_reward_chooses_the_mode(teacher, reward_model, reward_weight, least, most):
    """One jump of the student has both modes without, and the upper one with a weight of the return."""
    config = dataclasses.replace(_CONFIG, reward_weight=reward_weight)
    trainer = StudentTrainer(3, 1, config, seed=1, teacher=teacher, reward_model=reward_model)
    before = copy.deepcopy((teacher.state_dict(), reward_model.state_dict()))
    metrics = train(trainer, 300)
    assert ("return_loss" in metrics) == (reward_weight > 0)
    for model, saved in zip((teacher, reward_model), before, strict=True):
        assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = trainer.ema.sample(
            torch.randn(400, 2, 1, generator=generator), torch.randn(400, 3, generator=generator)
        )
    assert least <= float((drawn[:, 0, 0] > 0).float().mean()) <= most


def test_a_reward_aware_teacher_prefers_the_mode_too(reward_model):
    config = dataclasses.replace(_CONFIG, teacher_reward_weight=1.0)
    trainer = TeacherTrainer(3, 1, config, seed=0, reward_model=reward_model)
    assert np.isfinite(train(trainer, 3)["return_loss"])


def test_the_same_seed_gives_the_same_student(teacher, reward_model):
    weights = []
    for _ in range(2):
        trainer = StudentTrainer(3, 1, _CONFIG, seed=1, teacher=teacher, reward_model=reward_model)
        train(trainer, 3)
        weights.append(trainer.online.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_student_starts_as_its_teacher():
    """Its denoiser is the teacher's, wherever it jumps to."""
    torch.manual_seed(0)
    sizes = {"level_sizes": (16, 32), "kernel_size": 3, "embedding_size": 8}
    networks = ConditionedUNet(5, 3, 1, **sizes), ConditionedUNet(5, 3, 2, **sizes)
    denoiser, jumper = TrajectoryDenoiser(networks[0]), TrajectoryJumper(networks[1])
    x, observation = torch.randn(4, 8, 3), torch.randn(4, 5)
    sigma = torch.tensor([0.1, 1.0, 5.0, 60.0])
    expected = denoiser.denoise(x, sigma, observation)
    assert not torch.allclose(jumper.denoise(x, sigma, 0.3 * sigma, observation), expected)
    warm_start(networks[1], networks[0])
    torch.testing.assert_close(jumper.denoise(x, sigma, 0.3 * sigma, observation), expected)


def test_what_does_not_fit_is_refused(teacher):
    with pytest.raises(ValueError, match="`reward_model` must be given"):
        StudentTrainer(3, 1, _CONFIG, seed=0, teacher=teacher)
    with pytest.raises(ValueError, match="`reward_model` must be given"):
        TeacherTrainer(3, 1, dataclasses.replace(_CONFIG, teacher_reward_weight=1.0), seed=0)
    with pytest.raises(ValueError, match="got other kernel_size"):
        warm_start(
            ConditionedUNet(3, 1, 2, level_sizes=(16,), kernel_size=3, embedding_size=16), teacher.network
        )
    with pytest.raises(ValueError, match="`teacher` 1, got 2 and 2"):
        student = ConditionedUNet(3, 1, 2, level_sizes=(16,), kernel_size=1, embedding_size=16)
        warm_start(student, student)
    with pytest.raises(ValueError, match="must take 2 noise levels, got one of 1"):
        TrajectoryJumper(teacher.network)


def test_rewards_push_no_action_out_of_bounds():
    """Actions beyond [-1, 1] are judged as they act, and have no gradient there; those inside have theirs."""
    torch.manual_seed(0)
    model = RewardModel(3, 2, (8,))
    observation = torch.randn(4, 3)
    actions = torch.tensor([0.5, 1.5, -2.0, -0.5]).view(4, 1, 1).repeat(1, 2, 2).requires_grad_()
    loss = return_loss(model, observation, actions)
    torch.testing.assert_close(loss, -model(observation, actions[:, 0].clamp(-1.0, 1.0)).mean())
    loss.backward()
    assert (actions.grad[[0, 3], 0] != 0.0).all()
    assert (actions.grad[[1, 2]] == 0.0).all() and (actions.grad[:, 1] == 0.0).all()


def test_returns_of_another_shape_are_refused():
    """One column would be compared with every row in silence."""
    batch = make_batch(np.random.default_rng(0), 4)
    batch = dataclasses.replace(batch, return_to_go=batch.return_to_go[:, None])
    with pytest.raises(ValueError, match=r"`return_to_go` must have shape \[4\], got \[4, 1\]"):
        RewardTrainer(3, 1, _CONFIG, seed=0).update(batch)
