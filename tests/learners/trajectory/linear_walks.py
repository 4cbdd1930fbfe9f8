"""A dataset of a linear system."""

import numpy as np

from distill_rl.datasets.offline_dataset import OfflineDataset


def make_dataset():
    """A linear system, `s' = A s + B a`, in three episodes of 40, 4 and 60 steps."""
    generator = np.random.default_rng(0)
    steps = 104
    dynamics = np.array([[1.0, 0.1], [0.0, 0.9]])
    states, next_states = np.zeros((steps, 2)), np.zeros((steps, 2))
    actions = generator.uniform(-1.0, 1.0, (steps, 1))
    state = np.zeros(2)
    for step in range(steps):
        if step in (0, 40, 44):
            state = generator.normal(size=2)
        states[step] = state
        state = dynamics @ state + np.array([0.0, 0.5]) * actions[step]
        next_states[step] = state
    return OfflineDataset(
        observations=states.astype(np.float32),
        actions=actions.astype(np.float32),
        rewards=np.zeros(steps, np.float32),
        next_observations=next_states.astype(np.float32),
        terminals=np.zeros(steps, bool),
        is_transition=np.ones(steps, bool),
        episode_ends=np.array([40, 44, 104]),
        metadata={"name": "linear", "source": "here"},
    )
