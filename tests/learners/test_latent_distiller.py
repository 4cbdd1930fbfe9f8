import copy
import dataclasses

import numpy as np
import pytest
import torch

from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.types import EpisodeSteps, ReferenceSet
from learners.config import DistillationConfig
from learners.latent_distiller import LatentDistiller

MODEL = WorldModelConfig(enabled=True, latent_size=16, group_size=4, model_hidden_sizes=(32,))
CONFIG = DistillationConfig(hidden_sizes=(16,), learning_rate=3e-3)
NAMES = {"consistency_loss", "reward_loss", "termination_loss", "action_value_loss", "policy_loss"}


def _distiller(discount=0.9, **settings):
    world_model = dataclasses.replace(MODEL, **settings)
    return LatentDistiller(2, 1, CONFIG, 0, world_model=world_model, discount=discount)


def _batch(num_states=64, num_steps=3, seed=0):
    """A point moves by its action within [-1, 1], is paid its position and dies at the right end."""
    generator = np.random.default_rng(seed)
    action = generator.uniform(-1.0, 1.0, (num_states, num_steps, 1)).astype(np.float32)
    position = np.zeros((num_states, num_steps + 1, 1), np.float32)
    position[:, 0] = generator.uniform(-1.0, 1.0, (num_states, 1))
    for step in range(num_steps):
        position[:, step + 1] = np.clip(position[:, step] + 0.5 * action[:, step], -1.0, 1.0)
    observation = np.concatenate([position, np.ones_like(position)], axis=2)
    reward = position[:, 1:, 0]
    is_over = (reward >= 0.9).astype(np.float32)
    is_valid = np.concatenate([np.ones_like(is_over[:, :1]), 1.0 - is_over.cumsum(1)[:, :-1].clip(0, 1)], 1)
    zeros = np.zeros(num_states, np.float32)
    return ReferenceSet(
        observation=observation[:, -1],
        actions=generator.uniform(-1, 1, (num_states, 4, 1)).astype(np.float32),
        log_probs=np.full((num_states, 4), -np.log(4.0), np.float32),
        log_proposals=np.zeros((num_states, 4), np.float32),
        value=zeros,
        policy_value=zeros,
        policy_version=0,
        episode_steps=EpisodeSteps(observation, action, reward, 1.0 - is_over, is_valid),
    )


def test_the_model_learns_what_happens():
    """After training its rewards and terminations are those of fresh steps, three steps ahead too."""
    distiller = _distiller()
    for seed in range(400):
        metrics = distiller.update(_batch(seed=seed))
    assert metrics.keys() >= NAMES and metrics["num_skipped_updates"] == 0
    steps = _batch(512, seed=10_000).episode_steps
    networks = distiller.ema
    with torch.no_grad():
        latent = networks.encode(torch.from_numpy(steps.observation[:, 0]))
        for index in range(3):
            action = torch.from_numpy(steps.action[:, index])
            latent, reward, discount = networks.world_model.step(latent, action)
            is_seen = steps.is_valid[:, index] > 0
            error = np.abs(reward.numpy() - steps.reward[:, index])[is_seen]
            assert error.mean() < 0.15
            assert (discount.numpy() == steps.discount[:, index])[is_seen].mean() > 0.9


def test_values_are_those_of_the_policy():
    """With one step and a discount, Q is the reward plus the discounted value of the policy's next action."""
    distiller = _distiller(discount=0.5, num_model_steps=1)
    batch = _batch(num_steps=1)
    steps = dataclasses.replace(
        batch.episode_steps,
        reward=np.ones_like(batch.episode_steps.reward),
        discount=np.ones_like(batch.episode_steps.discount),
    )
    for _ in range(600):
        distiller.update(dataclasses.replace(batch, episode_steps=steps))
    networks = distiller.ema
    with torch.no_grad():
        latent = networks.encode(torch.from_numpy(batch.observation))
        value = networks.value(latent)
    # A reward of 1 for ever is worth 1 / (1 - 0.5).
    assert float(value.median()) == pytest.approx(2.0, rel=0.1)


def test_steps_that_are_not_there_do_not_count():
    """Whatever stands in them, the losses are the same."""
    distiller = _distiller()
    batch = _batch()
    valid = batch.episode_steps.is_valid.copy()
    valid[:, 2] = 0.0
    garbage = batch.episode_steps.reward.copy()
    garbage[:, 2] = 1e3
    of = [
        dataclasses.replace(batch.episode_steps, is_valid=valid, reward=reward)
        for reward in (batch.episode_steps.reward, garbage)
    ]
    losses = []
    for steps in of:
        losses.append(copy.deepcopy(distiller).update(dataclasses.replace(batch, episode_steps=steps)))
    for name in NAMES - {"policy_loss"}:
        assert losses[0][name] == losses[1][name]


def test_the_policy_does_not_move_the_encoder():
    """The gradient of its loss stops at the latent states."""
    distiller = _distiller()
    batch = _batch()
    losses, _ = distiller._losses(batch.map_arrays(torch.from_numpy))
    losses["policy_loss"].backward()
    assert all(p.grad is None for p in distiller.online.encoder.parameters())
    assert any(p.grad is not None for p in distiller.online.policy.parameters())


def test_sets_without_steps_are_refused():
    """A learned model needs them."""
    with pytest.raises(ValueError, match="`episode_steps` must be given"):
        _distiller().update(dataclasses.replace(_batch(), episode_steps=None))


def test_state_goes_on_with_the_same_draws():
    """A restored distiller makes the same next step."""
    first = _distiller()
    first.update(_batch(seed=1))
    second = _distiller()
    second.set_state(first.get_state())
    assert first.update(_batch(seed=2)) == second.update(_batch(seed=2))
