import dataclasses

import numpy as np
import pytest
import scipy.stats

from distill_rl.datasets.offline_dataset import OfflineDataset
from learners.offline import transitions
from learners.offline.transitions import TransitionSampler, observation_statistics


def _dataset(lengths: tuple[int, ...] = (6, 1, 9), seed: int = 0) -> OfflineDataset:
    """Episodes whose last steps are no transitions, but for the second, which terminated.

    The observation of step `i` is `[i, 0, 0]`, so that a batch tells its rows.
    """
    generator = np.random.default_rng(seed)
    total, ends = sum(lengths), np.cumsum(lengths)
    terminals, is_transition = np.zeros(total, bool), np.ones(total, bool)
    is_transition[ends - 1] = False
    terminals[ends[1] - 1] = is_transition[ends[1] - 1] = True
    observations = np.zeros((total, 3), np.float32)
    observations[:, 0] = np.arange(total)
    return OfflineDataset(
        observations=observations,
        actions=generator.uniform(-1, 1, (total, 2)).astype(np.float32),
        rewards=generator.normal(3.0, 2.0, total).astype(np.float32),
        next_observations=generator.normal(size=(total, 3)).astype(np.float32),
        terminals=terminals,
        is_transition=is_transition,
        episode_ends=ends.astype(np.int64),
        metadata={"name": "made", "source": "here"},
    ).validate()


def _rows(sampler: TransitionSampler, num_draws: int, seed: int = 0) -> np.ndarray:
    batch = sampler.sample(num_draws, np.random.default_rng(seed))
    return batch.observation[:, 0].astype(int)


def test_transitions_are_drawn_uniformly_and_no_other_steps():
    """Chi-square over many draws; ends of episodes whose next observation is not known never come."""
    dataset = _dataset()
    sampler = TransitionSampler(dataset)
    rows = _rows(sampler, 40_000)
    known = [row for row in range(16) if row not in (5, 15)]
    assert len(sampler) == len(known) == 14
    counts = np.bincount(rows, minlength=16)
    assert counts[5] == counts[15] == 0
    assert scipy.stats.chisquare(counts[known]).pvalue > 0.01


def test_a_batch_holds_whole_transitions():
    """Each row is one step of the dataset in every field, float32, the terminal one among them."""
    dataset = _dataset()
    batch = TransitionSampler(dataset).sample(200, np.random.default_rng(1))
    rows = batch.observation[:, 0].astype(int)
    np.testing.assert_array_equal(batch.observation, dataset.observations[rows])
    np.testing.assert_array_equal(batch.action, dataset.actions[rows])
    np.testing.assert_array_equal(batch.reward, dataset.rewards[rows])
    np.testing.assert_array_equal(batch.next_observation, dataset.next_observations[rows])
    np.testing.assert_array_equal(batch.is_terminal, rows == 6)
    assert 0.0 < batch.is_terminal.mean() < 1.0
    assert all(array.dtype == np.float32 for array in vars(batch).values())


def test_draws_follow_their_generator():
    """Equal seeds give equal rows, others others."""
    sampler = TransitionSampler(_dataset())
    np.testing.assert_array_equal(_rows(sampler, 50, 3), _rows(sampler, 50, 3))
    assert not np.array_equal(_rows(sampler, 50, 3), _rows(sampler, 50, 4))


def test_rewards_are_transformed():
    """`antmaze` maps 0 and 1 to -2 and 2; `standardize` uses mean and deviation of the transitions alone."""
    dataset = _dataset()
    dataset.rewards[[5, 15]] = 1e6  # no transitions
    sparse = dataclasses.replace(dataset, rewards=(dataset.rewards > 3.0).astype(np.float32))
    batch = TransitionSampler(sparse, "antmaze").sample(200, np.random.default_rng(0))
    rows = batch.observation[:, 0].astype(int)
    np.testing.assert_array_equal(batch.reward, np.where(dataset.rewards[rows] > 3.0, 2.0, -2.0))
    known = dataset.rewards[dataset.is_transition].astype(np.float64)
    batch = TransitionSampler(dataset, "standardize").sample(200, np.random.default_rng(0))
    rows = batch.observation[:, 0].astype(int)
    expected = (dataset.rewards[rows] - known.mean()) / known.std()
    np.testing.assert_allclose(batch.reward, expected, rtol=1e-4, atol=1e-5)


def test_equal_rewards_are_standardized_to_zero():
    """There is no deviation to divide by."""
    dataset = _dataset()
    dataset.rewards[:] = 7.0
    batch = TransitionSampler(dataset, "standardize").sample(20, np.random.default_rng(0))
    np.testing.assert_array_equal(batch.reward, np.zeros(20))


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 14])
def test_ranks_share_the_transitions_out(num_ranks):
    """Together they have each transition once, and shares differ by one at most."""
    dataset = _dataset()
    samplers = [TransitionSampler(dataset, "none", rank, num_ranks) for rank in range(num_ranks)]
    drawn = [set(_rows(sampler, 400)) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(rows) for rows in drawn]
    assert sum(len(rows) for rows in drawn) == 14
    assert set().union(*drawn) == set(dataset.transition_rows)
    assert max(map(len, samplers)) - min(map(len, samplers)) <= 1


def test_ranks_agree_on_the_standardized_reward():
    """Mean and deviation are of the whole dataset, not of a share, and rewards stay with their rows."""
    dataset = _dataset()
    whole = TransitionSampler(dataset, "standardize").sample(500, np.random.default_rng(0))
    expected = dict(zip(whole.observation[:, 0], whole.reward, strict=True))
    for rank in range(3):
        batch = TransitionSampler(dataset, "standardize", rank, 3).sample(100, np.random.default_rng(0))
        assert [expected[row] for row in batch.observation[:, 0]] == batch.reward.tolist()
        np.testing.assert_array_equal(batch.is_terminal, batch.observation[:, 0] == 6)


@pytest.mark.parametrize("chunk_steps", [4, 16, 1_000])
def test_statistics_are_those_of_all_observations(monkeypatch, chunk_steps):
    """Numpy's mean and variance, in pieces of any size, far from zero too."""
    monkeypatch.setattr(transitions, "_CHUNK_STEPS", chunk_steps)
    dataset = _dataset()
    observations = np.random.default_rng(0).normal(1e4, [1e-2, 1.0, 30.0], (16, 3)).astype(np.float32)
    mean, var = observation_statistics(dataclasses.replace(dataset, observations=observations))
    np.testing.assert_allclose(mean, observations.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(var, observations.astype(np.float64).var(0), rtol=1e-6)
    assert mean.dtype == var.dtype == np.float64


def test_the_variance_of_a_constant_is_zero():
    """Not a negative rounding error."""
    dataset = dataclasses.replace(_dataset(), observations=np.full((16, 3), 0.1, np.float32))
    mean, var = observation_statistics(dataset)
    np.testing.assert_allclose(mean, np.float32(0.1), rtol=1e-12)
    np.testing.assert_array_equal(var, np.zeros(3))


def test_bad_arguments_are_named():
    """The name, what was expected, what came."""
    dataset = _dataset()
    with pytest.raises(ValueError, match=r"`reward_transform` must be one of .*did you mean 'standardize'"):
        TransitionSampler(dataset, "standardise")
    with pytest.raises(ValueError, match="`dataset` must have 15 transitions or more, got 14"):
        TransitionSampler(dataset, num_ranks=15)
    nothing = dataclasses.replace(dataset, is_transition=np.zeros(16, bool))
    with pytest.raises(ValueError, match="`dataset` must have 1 transitions or more, got 0"):
        TransitionSampler(nothing)
    with pytest.raises(ValueError, match="`batch_size` must be an integer of at least 1, got 0"):
        TransitionSampler(dataset).sample(0, np.random.default_rng(0))
