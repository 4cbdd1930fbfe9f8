import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from distill_rl.algorithms import DistillConfig
from distill_rl.types import ReferenceSet
from learners.learner import reshard_replays
from learners.replay import ReferenceReplay


def _sets(num_states=32, seed=0, num_candidates=4):
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(num_candidates), size=num_states)
    return ReferenceSet(
        observation=generator.normal(size=(num_states, 3)).astype(np.float32),
        actions=generator.uniform(-1, 1, size=(num_states, num_candidates, 1)).astype(np.float32),
        log_probs=np.log(weights).astype(np.float32),
        log_proposals=np.zeros((num_states, num_candidates), np.float32),
        value=generator.normal(size=num_states).astype(np.float32),
        policy_value=generator.normal(size=num_states).astype(np.float32),
        policy_version=0,
    )


@pytest.fixture
def learner():
    config = DistillConfig().debugging(seed=1).distillation(batch_size=16, hidden_sizes=(16,))
    spaces = (gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Box(-1, 1, (1,), np.float32))
    config.environment("Pendulum-v1", observation_space=spaces[0], action_space=spaces[1])
    return config.build_learner(spaces={DEFAULT_MODULE_ID: spaces})


def test_update_reports_the_averaged_weights_and_their_version(learner):
    """The weights to broadcast are the moving average, and their version is the number of updates."""
    before = learner.update([_sets()]).weights
    report = learner.update(num_updates=5)
    ema = learner.trainer.ema.state_dict()
    assert report.policy_version == 5
    assert report.num_replay_sets == 32
    for name, tensor in ema.items():
        np.testing.assert_array_equal(report.weights[f"networks.{name}"], tensor.numpy())
    assert any(not np.array_equal(before[name], report.weights[name]) for name in before)


def test_update_refuses_and_counts_invalid_sets(learner, caplog):
    """A fragment that breaks the contract is counted once, named, and leaves the replay as it was."""
    learner.update([_sets()])
    bad = _sets(8)
    bad.observation[0, 0] = np.nan
    report = learner.update([bad], num_updates=1)
    assert (report.num_invalid_sets, report.num_replay_sets) == (8, 32)
    assert report.weights is not None
    assert "8 reference sets are refused: `observation`" in caplog.text
    assert learner.update(num_updates=1).num_invalid_sets == 0


def test_update_holds_back_weights_that_are_not_finite(learner):
    """Weights with NaN are never handed out."""
    learner.update([_sets()])
    with torch.no_grad():
        next(learner.trainer.ema.parameters()).view(-1)[0] = torch.nan
    assert learner.update().weights is None


def test_set_state_goes_back_in_time(learner):
    """An older state replaces newer weights, and learning continues from it as it did the first time."""
    learner.update([_sets()], num_updates=3)
    state, replay = learner.get_state(), learner.get_replay_state()
    first = learner.update(num_updates=4)
    learner.set_state(state)
    learner.set_replay_state(replay)
    assert learner.update().policy_version == 3
    second = learner.update(num_updates=4)
    for name, array in first.weights.items():
        np.testing.assert_array_equal(array, second.weights[name])


def test_batches_are_drawn_with_the_configured_priority(learner, monkeypatch):
    """At priority 1 only sets of states in which the search improved on the policy are drawn."""
    learner.trainer.config = dataclasses.replace(learner.trainer.config, replay_priority=1.0)
    batches = []
    monkeypatch.setattr(learner.trainer, "update", lambda batch: batches.append(batch) or {})
    learner.update([_sets()], num_updates=20)
    assert len(batches) == 20
    assert all(len(batch) == 16 and (batch.value > batch.policy_value).all() for batch in batches)


def test_reshard_replays_keeps_the_order_of_age():
    """A full ring is dealt out oldest first, wherever its head stands."""
    replay = ReferenceReplay(10)
    sets = _sets(13)
    replay.add(sets)
    replay.add(_sets(4, seed=1))
    (shard,) = reshard_replays([{"replay": replay.state_dict()}], 1, capacity=20)
    expected = np.concatenate([sets.value[7:], _sets(4, seed=1).value])
    np.testing.assert_array_equal(shard["replay"]["arrays"]["value"], expected)


def test_reshard_replays_deals_every_state_once():
    """Two learners' sets dealt to three (or one) are the same sets, each exactly once."""
    states = []
    for rank in range(2):
        replay = ReferenceReplay(100)
        replay.add(_sets(num_states=10 + rank, seed=rank))
        states.append({"replay": replay.state_dict()})
    wanted = np.sort(np.concatenate([s["replay"]["arrays"]["value"] for s in states]))
    for num_shards in (1, 3):
        shards = reshard_replays(states, num_shards, capacity=100)
        values = np.concatenate([s["replay"]["arrays"]["value"] for s in shards])
        np.testing.assert_array_equal(np.sort(values), wanted)
