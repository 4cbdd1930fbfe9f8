import math

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from distill_rl.algorithms.offline_config import CriticDistillConfig
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import save_dataset

_NUM_STEPS = 30


@pytest.fixture
def learner(tmp_path):
    generator = np.random.default_rng(0)
    dataset = OfflineDataset(
        observations=generator.normal(2.0, 3.0, (_NUM_STEPS, 3)).astype(np.float32),
        actions=generator.uniform(-1, 1, (_NUM_STEPS, 2)).astype(np.float32),
        rewards=generator.normal(size=_NUM_STEPS).astype(np.float32),
        next_observations=generator.normal(2.0, 3.0, (_NUM_STEPS, 3)).astype(np.float32),
        terminals=np.zeros(_NUM_STEPS, bool),
        is_transition=np.ones(_NUM_STEPS, bool),
        episode_ends=np.array([_NUM_STEPS]),
        metadata={"name": "made", "source": "here"},
    )
    config = CriticDistillConfig().dataset(name=str(save_dataset(dataset, tmp_path / "made")))
    config.learning(hidden_sizes=[8], batch_size=6, num_reference_states=5, num_references=3)
    config.debugging(seed=1).validate()
    spaces = (config.observation_space, config.action_space)
    return config.build_learner(spaces={DEFAULT_MODULE_ID: spaces})


def _weights(learner):
    return {name: tensor.clone() for name, tensor in learner.trainer.online.state_dict().items()}


def _assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_updates_are_counted_and_move_the_module(learner):
    """The module that RLlib sees holds the averaged weights; losses are means over the call."""
    before, losses = _weights(learner), []
    update = learner.trainer.update
    learner.trainer.update = lambda batch: losses.append(update(batch)) or losses[-1]
    report = learner.update(5)
    assert (report.num_updates, report.num_skipped_updates, report.num_rollbacks) == (5, 0, 0)
    assert any(not torch.equal(before[name], tensor) for name, tensor in _weights(learner).items())
    assert learner.module[DEFAULT_MODULE_ID].networks is learner.trainer.ema
    logged = report.metrics[DEFAULT_MODULE_ID]
    for name in ("behaviour_loss", "policy_loss", "critic_loss", "q_value"):
        mean = math.fsum(metrics[name] for metrics in losses) / 5
        assert float(logged[name].peek()) == pytest.approx(mean, rel=1e-5)
    assert learner.update(2).num_updates == 7


def test_observations_are_normalised_by_the_whole_dataset(learner):
    """From the start, and the same after updates."""
    observations = learner._sampler._dataset.observations
    for num_updates in (0, 3):
        learner.update(num_updates)
        for network in learner.trainer.ema.children():
            np.testing.assert_allclose(network.normalizer.mean, observations.mean(0), rtol=1e-5)
            np.testing.assert_allclose(network.normalizer.var, observations.var(0), rtol=1e-4)
            assert float(network.normalizer.count) == _NUM_STEPS


def test_set_state_goes_back_in_time(learner):
    """An older state replaces newer weights, and learning goes on as it did the first time."""
    learner.update(3)
    state = learner.get_state()
    learner.update(4)
    first = _weights(learner)
    learner.set_state(state)
    assert learner.update(0).num_updates == 3
    assert learner.update(4).num_updates == 7
    _assert_equal(_weights(learner), first)


def test_other_learners_go_on_with_draws_of_their_own(learner):
    """RLlib gives all of them the first one's state: weights are taken over, draws are not, repeatably."""
    learner.update(3)
    state = learner.get_state()
    batches, noises = [], []
    for rank in (0, 1, 2, 1):
        learner._rank = rank
        learner.set_state(state)
        _assert_equal(_weights(learner), state["trainer"]["online"])
        batches.append(learner._generator.integers(1_000_000, size=4).tolist())
        noises.append(learner.trainer.get_state()["generator"].tolist())
    for drawn in (batches, noises):
        assert drawn[1] == drawn[3]
        assert len({tuple(each) for each in drawn}) == 3
    assert noises[0] == state["trainer"]["generator"].tolist()


def test_learners_share_the_batch(learner):
    """Rounded up; no more states get reference sets than a share holds."""
    networks = learner.module[DEFAULT_MODULE_ID].networks
    for num_ranks, sizes in ((1, (6, 5)), (2, (3, 3)), (4, (2, 2)), (12, (1, 1))):
        learner._num_ranks = num_ranks
        config = learner._make_trainer(networks, 0, None).config
        assert (config.batch_size, config.num_reference_states) == sizes
