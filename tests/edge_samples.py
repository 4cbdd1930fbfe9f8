"""Fragments, and a Redis server, for tests of the edge."""

import numpy as np

from distill_rl.collected import Collected, EpisodeRecord
from distill_rl.types import NStepTransitions, ReferenceSet


def make_collected(num_states=4, seed=0, policy_version=3, observation_size=5) -> Collected:
    """Returns a fragment with random numbers, transitions and one episode."""
    generator = np.random.default_rng(seed)

    def draw(*shape) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    logits = draw(num_states, 6)
    sets = ReferenceSet(
        observation=draw(num_states, observation_size),
        actions=np.tanh(draw(num_states, 6, 2)),
        log_probs=logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)),
        log_proposals=np.zeros((num_states, 6), np.float32),
        value=draw(num_states),
        policy_value=draw(num_states),
        policy_version=policy_version,
        transitions=NStepTransitions(
            observation=draw(num_states, 2, observation_size),
            reward=draw(num_states, 2),
            discount=np.ones((num_states, 2), np.float32),
            next_observation=draw(num_states, 2, observation_size),
        ),
    )
    return Collected(
        reference_set=sets,
        episodes=[EpisodeRecord(12.5, 20, 0.5, "student", False)],
        num_dropped_episodes=1,
        num_env_steps=num_states,
        num_simulator_steps=7 * num_states,
        metrics={"kl": 0.25, "ess": float("nan")},
    )


def assert_same(left: Collected, right: Collected) -> None:
    """Checks that two fragments hold the same."""
    expected, actual = left.reference_set.to_arrays(), right.reference_set.to_arrays()
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, actual[name])
        assert array.dtype == actual[name].dtype
    assert left.reference_set.policy_version == right.reference_set.policy_version
    assert left.reference_set.convention == right.reference_set.convention
    assert left.episodes == right.episodes
    for name in ("num_dropped_episodes", "num_env_steps", "num_simulator_steps"):
        assert getattr(left, name) == getattr(right, name)
    np.testing.assert_equal(left.metrics, right.metrics)
