import numpy as np
import pytest
from scipy.stats import truncnorm
from toy_simulator import PointMassEnv

from actors.collection import (
    RunningEpisode,
    action_bounds,
    collect_episodes,
    truncated_normal_behaviour,
    uniform_behaviour,
)
from distill_rl.envs import make_env

_METADATA = {"name": "toy", "source": "a test"}


def _envs(num_envs=3, **settings):
    return [
        make_env(PointMassEnv, env_config={"size": 2, "max_steps": 20} | settings) for _ in range(num_envs)
    ]


def _towards_the_middle(observation):
    return np.clip(-2.0 * observation, -1.0, 1.0)


def _episodes(observation):
    return [RunningEpisode(None, row) for row in observation]


def test_uniform_actions_have_the_density_of_their_box():
    """`2^-A` everywhere, and as many draws on each side."""
    actions, log_probs = uniform_behaviour(3)(_episodes(np.zeros((20_000, 5))), np.random.default_rng(0))
    assert actions.dtype == np.float32 and actions.shape == (20_000, 3)
    np.testing.assert_allclose(np.exp(log_probs), 1 / 8, rtol=1e-6)
    assert np.abs(actions).max() <= 1.0
    np.testing.assert_allclose(actions.var(axis=0), 1 / 3, atol=0.01)


@pytest.mark.parametrize("scale", [0.1, 0.7])
def test_truncated_normal_actions_have_scipys_density(scale):
    """At the actions as they are stored, means at the bounds included."""
    observation = np.random.default_rng(0).uniform(-1.0, 1.0, (500, 2)).astype(np.float32)
    behaviour = truncated_normal_behaviour(_towards_the_middle, scale)
    actions, log_probs = behaviour(_episodes(observation), np.random.default_rng(1))
    mean = np.asarray(_towards_the_middle(observation), np.float64)
    assert (np.abs(mean) == 1.0).any()
    low, high = (-1.0 - mean) / scale, (1.0 - mean) / scale
    expected = truncnorm.logpdf(actions.astype(np.float64), low, high, loc=mean, scale=scale).sum(axis=1)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        actions.mean(axis=0), truncnorm.mean(low, high, loc=mean, scale=scale).mean(axis=0), atol=0.05
    )


def test_episodes_are_whole_and_what_the_environment_returned():
    """As many as are needed, with the time limit's last observation, and terminals where it terminates."""
    envs = _envs(limit=1.05)
    dataset = collect_episodes(uniform_behaviour(2), envs, 300, 0, _METADATA | action_bounds(envs[0]))
    dataset.validate()
    lengths = np.diff(dataset.episode_ends, prepend=0)
    assert 300 <= len(dataset) < 300 + lengths[-1]
    np.testing.assert_allclose(
        dataset.next_observations, dataset.observations + 0.1 * dataset.actions, atol=1e-6
    )
    np.testing.assert_allclose(dataset.rewards, -(dataset.next_observations**2).sum(axis=1), atol=1e-6)
    is_outside = np.abs(dataset.next_observations).max(axis=1) > 1.05
    np.testing.assert_array_equal(dataset.terminals, is_outside)
    ends = dataset.episode_ends - 1
    assert 0 < dataset.terminals[ends].sum() < len(ends)
    np.testing.assert_array_equal(lengths[~dataset.terminals[ends]], 20)
    assert (np.abs(dataset.observations[dataset.episode_starts]) <= 1.0).all()
    assert dataset.metadata["seed"] == 0 and dataset.metadata["action_low"] == [-1.0, -1.0]


def test_a_collection_repeats_itself_for_a_seed():
    """And another seed gives other starts and actions."""
    behaviour = truncated_normal_behaviour(_towards_the_middle, 0.3)
    first, again, other = (collect_episodes(behaviour, _envs(), 100, seed, _METADATA) for seed in (5, 5, 6))
    for name in ("observations", "actions", "rewards", "behaviour_log_probs"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_behaviours_of_unknown_density_leave_none():
    """Rather than numbers that are none."""

    def behave(episodes, generator):
        return _towards_the_middle(np.stack([episode.observation for episode in episodes])), None

    dataset = collect_episodes(behave, _envs(), 30, 0, _METADATA)
    assert dataset.behaviour_log_probs is None


def test_an_episode_whose_physics_fails_ends_before_that():
    """What was sound is kept, and a new episode starts."""
    always_right = truncated_normal_behaviour(lambda o: np.ones_like(o), 0.01)
    dataset = collect_episodes(always_right, _envs(1, start=0.0, poison=0.35), 12, 0, _METADATA)
    assert dataset.num_episodes == 4 and not dataset.terminals.any()
    np.testing.assert_array_equal(np.diff(dataset.episode_ends, prepend=0), 3)


@pytest.mark.parametrize(
    ("envs", "num_steps", "message"),
    [([], 5, "`envs` must hold at least one"), (None, 0, "`num_steps` must be an integer of at least 1")],
)
def test_mistakes_are_told(envs, num_steps, message):
    """Before anything is stepped."""
    with pytest.raises(ValueError, match=message):
        collect_episodes(uniform_behaviour(2), _envs() if envs is None else envs, num_steps, 0, _METADATA)


def test_noise_must_be_positive():
    """A policy without noise has no density."""
    with pytest.raises(ValueError, match="`scale` must be positive, got 0"):
        truncated_normal_behaviour(_towards_the_middle, 0.0)
