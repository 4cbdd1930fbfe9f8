"""Sequences of actions from a dataset of two short episodes."""

import numpy as np
import pytest

from distill_rl.datasets.offline_dataset import OfflineDataset
from learners.trajectory.chunks import ChunkSampler


def make_dataset():
    """Two episodes of four and three steps; the first one is terminated."""
    terminals = np.zeros(7, bool)
    terminals[3] = True
    return OfflineDataset(
        observations=np.arange(7, dtype=np.float32)[:, None],
        actions=np.linspace(-1, 1, 7, dtype=np.float32)[:, None],
        rewards=np.ones(7, np.float32),
        next_observations=np.arange(1, 8, dtype=np.float32)[:, None],
        terminals=terminals,
        is_transition=np.ones(7, bool),
        episode_ends=np.array([4, 7]),
        metadata={"name": "few", "source": "here"},
    )


def test_sequences_stay_in_their_episode():
    """The last action is repeated; returns to go are discounted, penalised, and of mean 0 and scale 1."""
    sampler = ChunkSampler(make_dataset(), num_steps=3, discount=0.5, termination_penalty=10.0)
    batch = sampler.sample(200, np.random.default_rng(0))
    row = batch.observation[:, 0].astype(int)
    ends = np.where(row < 4, 3, 6)
    actions = np.linspace(-1, 1, 7, dtype=np.float32)
    for step in range(3):
        np.testing.assert_array_equal(batch.actions[:, step, 0], actions[np.minimum(row + step, ends)])
    rewards = [1.0, 1.0, 1.0, -9.0, 1.0, 1.0, 1.0]
    returns = []
    for start, end in [(0, 4), (1, 4), (2, 4), (3, 4), (4, 7), (5, 7), (6, 7)]:
        returns.append(sum(0.5**k * rewards[start + k] for k in range(end - start)))
    expected = (np.array(returns) - np.mean(returns)) / np.std(returns)
    np.testing.assert_allclose(batch.return_to_go, expected[row], rtol=1e-5)
    assert sampler.return_mean == pytest.approx(np.mean(returns))


def test_learners_share_the_steps():
    samplers = [ChunkSampler(make_dataset(), 2, rank=rank, num_ranks=2) for rank in (0, 1)]
    assert [len(sampler) for sampler in samplers] == [4, 3]
    seen = [set(s.sample(100, np.random.default_rng(0)).observation[:, 0]) for s in samplers]
    assert seen == [{0.0, 2.0, 4.0, 6.0}, {1.0, 3.0, 5.0}]
    with pytest.raises(ValueError, match="8 steps or more, got 7"):
        ChunkSampler(make_dataset(), 2, num_ranks=8)
