"""The stages one after the other: their order, what they leave, and how they go on."""

import dataclasses

import numpy as np
import pytest
import torch

from distill_rl.policies.chunk_networks import ChunkNetworks
from learners.trajectory.chunks import ChunkBatch
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline import PipelineTrainer, adopt, chunk_network_settings
from learners.trajectory.pipeline_config import ChunkActingConfig, StagesConfig

_CONFIG = TrajectoryConfig(
    num_steps=2, level_sizes=(8,), kernel_size=1, embedding_size=8, reward_hidden_sizes=(8,), num_levels=5
)
_STAGES = StagesConfig(teacher_updates=3, reward_updates=2, student_updates=4)
_STATISTICS = (np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]), 7)


def make_batch(seed):
    generator = np.random.default_rng(seed)
    return ChunkBatch(
        observation=generator.normal(size=(6, 3)).astype(np.float32),
        actions=generator.uniform(-1, 1, (6, 2, 1)).astype(np.float32),
        return_to_go=generator.normal(size=6).astype(np.float32),
    )


def make(stages=_STAGES, config=_CONFIG, adopted=(), begin_fn=None):
    networks = ChunkNetworks(3, 1, **chunk_network_settings(config))
    for part, state in adopted:
        adopt(networks, part, state, "there")
    return PipelineTrainer(networks, config, stages, _STATISTICS, seed=0, begin_fn=begin_fn)


def run(trainer, num_updates, first=0):
    return [trainer.update(make_batch(first + index)) for index in range(num_updates)]


def weights_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_stages_follow_each_other_and_what_they_leave_stays():
    """Teacher, reward model, student: each for its updates; the first two are bit-identical ever after."""
    trainer, seen = make(), []
    for index in range(9):
        seen.append(trainer.stage)
        if index == 3:
            teacher = weights_of(trainer.ema.teacher)
        if index == 5:
            reward = weights_of(trainer.ema.reward_model)
            assert not trainer.ema.has("student") or trainer.stage == "student"
        metrics = trainer.update(make_batch(index))
        assert all(name.startswith(seen[-1]) for name in metrics)
        assert trainer.num_updates == index + 1
    assert seen == ["teacher"] * 3 + ["reward"] * 2 + ["student"] * 4
    assert trainer.stage is None
    assert_same(teacher, weights_of(trainer.ema.teacher))
    assert_same(reward, weights_of(trainer.ema.reward_model))
    with pytest.raises(ValueError, match="after the last stage"):
        trainer.update(make_batch(0))


def test_a_student_starts_as_its_teacher_with_its_statistics():
    """Same weights, and the mean and variance that normalise observations."""
    begun = []
    trainer = make(begin_fn=begun.append)
    run(trainer, 5)
    assert [type(stage).__name__ for stage in begun] == ["TeacherTrainer", "RewardTrainer", "StudentTrainer"]
    teacher, student = trainer.ema.teacher.model.network, trainer.ema.student.model.network
    np.testing.assert_allclose(student.normalizer.mean, _STATISTICS[0])
    np.testing.assert_allclose(student.normalizer.var, _STATISTICS[1])
    assert_same(weights_of(teacher.unet.head), weights_of(student.unet.head))


@pytest.mark.parametrize("num_before", [1, 3, 4, 7, 9])
def test_it_goes_on_from_a_state_as_if_never_stopped(num_before):
    """In the middle of every stage, between two, and after the last: weights and draws are bit-identical."""
    whole, first, second = make(), make(), make()
    run(whole, 9)
    run(first, num_before)
    state = first.get_state()
    run(first, 9 - num_before, num_before)  # must not change the state taken
    run(second, 6)  # what is restored into has gone elsewhere
    second.set_state(state)
    assert second.num_updates == num_before
    run(second, 9 - num_before, num_before)
    assert_same(weights_of(whole.ema), weights_of(second.ema))
    assert_same(weights_of(whole.ema), weights_of(first.ema))


def test_a_run_leaves_its_teacher_and_reward_model_to_several_students():
    """What is adopted acts and teaches as it was, and is never changed."""
    first = make(StagesConfig(stages=("teacher", "reward"), teacher_updates=3, reward_updates=2))
    run(first, 5)
    assert first.stage is None and not first.ema.has("student")
    state = first.get_state()
    stages = StagesConfig(
        stages=("student",), student_updates=4, teacher_checkpoint="there", reward_checkpoint="there"
    )
    for weight in (0.0, 1.0):
        config = dataclasses.replace(_CONFIG, reward_weight=weight)
        trainer = make(stages, config, [("teacher", state), ("reward", state)])
        metrics = run(trainer, 4)
        assert ("student_return_loss" in metrics[0]) == (weight > 0.0)
        assert_same(weights_of(first.ema.teacher), weights_of(trainer.ema.teacher))
        assert_same(weights_of(first.ema.reward_model), weights_of(trainer.ema.reward_model))


def test_what_cannot_be_adopted_is_named():
    """Another algorithm's state, a stage that has not begun, other sizes."""
    trainer = make()
    networks = ChunkNetworks(3, 1, **chunk_network_settings(_CONFIG))
    with pytest.raises(ValueError, match="`there` must hold the checkpoint of an RACTD run"):
        adopt(networks, "teacher", {"online": {}}, "there")
    with pytest.raises(ValueError, match="`there` must hold a reward to go on from, got a run that has not"):
        adopt(networks, "reward", trainer.get_state(), "there")
    larger = dataclasses.replace(_CONFIG, level_sizes=(16,))
    other = ChunkNetworks(3, 1, **chunk_network_settings(larger))
    with pytest.raises(ValueError, match=r"`there` must hold a teacher of the sizes configured, got other"):
        adopt(other, "teacher", trainer.get_state(), "there")
    spread = dataclasses.replace(_CONFIG, sigma_data=1.0)
    other = ChunkNetworks(3, 1, **chunk_network_settings(spread))
    with pytest.raises(ValueError, match=r"`there` must hold a teacher of sigma_data = 1.0, got 0.5"):
        adopt(other, "teacher", trainer.get_state(), "there")


def test_a_deeper_reward_model_is_not_taken_for_a_shallow_one():
    """Weights that there is no place for count too."""
    trainer = make(StagesConfig(stages=("reward",), reward_updates=1))
    state = trainer.get_state()
    state["networks"]["reward_model.layers.9.bias"] = torch.zeros(1)
    networks = ChunkNetworks(3, 1, **chunk_network_settings(_CONFIG))
    with pytest.raises(ValueError, match=r"reward of the sizes .*layers.9.bias has \[1\], not None"):
        adopt(networks, "reward", state, "there")


def test_a_teacher_that_climbs_rewards_comes_after_their_model():
    """The order of the stages changes, and the loss is there."""
    config = dataclasses.replace(_CONFIG, teacher_reward_weight=0.5)
    trainer = make(config=config)
    metrics = run(trainer, 9)
    assert "reward_loss" in metrics[0] and "teacher_return_loss" in metrics[2]
    assert _STAGES.schedule(config) == (("reward", 2), ("teacher", 3), ("student", 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": ()}, "`stages` must name one stage or more"),
        ({"stages": ("teacher", "teacher")}, "`stages` must name one stage or more, each once"),
        ({"stages": ("critic",)}, "`stages` must be one of"),
        ({"student_updates": 0}, "`student_updates` must be an integer of at least 1, got 0"),
        ({"teacher_checkpoint": "x"}, "`teacher_checkpoint` must be None where the stage is run, got 'x'"),
    ],
)
def test_mistakes_in_stages_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        StagesConfig(**settings)


@pytest.mark.parametrize(
    ("stages", "config", "missing"),
    [
        ({"stages": ("student",)}, {}, "teacher"),
        ({"stages": ("teacher", "student")}, {}, "reward"),
        ({"stages": ("teacher",)}, {"teacher_reward_weight": 1.0}, "reward"),
    ],
)
def test_a_stage_without_what_it_needs_is_named(stages, config, missing):
    """A student without rewards needs none of their model."""
    with pytest.raises(ValueError, match=f"`{missing}_checkpoint` be set"):
        StagesConfig(**stages).schedule(dataclasses.replace(_CONFIG, **config))
    free = dataclasses.replace(_CONFIG, reward_weight=0.0)
    assert [name for name, _ in StagesConfig(stages=("student", "teacher")).schedule(free)] == [
        "teacher",
        "student",
    ]


def test_mistakes_in_acting_are_named():
    for settings, message in (
        ({"exec_horizon": 0}, "`exec_horizon` must be an integer of at least 1, got 0"),
        ({"noise_scale": -1.0}, "`noise_scale` must not be negative, got -1.0"),
        ({"teacher_sampler": "hoin"}, "`teacher_sampler` must be one of .*heun"),
    ):
        with pytest.raises(ValueError, match=message):
            ChunkActingConfig(**settings)
