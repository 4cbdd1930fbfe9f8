"""A small dataset of random numbers."""

import numpy as np

from distill_rl.datasets.offline_dataset import OfflineDataset


def make_dataset(lengths=(4, 1, 7), seed=0, with_log_probs=True, **metadata):
    """Random episodes, the second of which terminated."""
    generator = np.random.default_rng(seed)
    total, ends = sum(lengths), np.cumsum(lengths)
    terminals = np.zeros(total, bool)
    terminals[ends[1] - 1] = True
    return OfflineDataset(
        observations=generator.normal(size=(total, 3)).astype(np.float32),
        actions=generator.uniform(-1, 1, (total, 2)).astype(np.float32),
        rewards=generator.normal(size=total).astype(np.float32),
        next_observations=generator.normal(size=(total, 3)).astype(np.float32),
        terminals=terminals,
        is_transition=np.ones(total, bool),
        episode_ends=ends.astype(np.int64),
        metadata={"name": "made", "source": "here", **metadata},
        behaviour_log_probs=generator.normal(size=total).astype(np.float32) if with_log_probs else None,
    ).validate()
