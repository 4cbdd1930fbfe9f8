"""Other libraries beside our offline methods, on a dataset of a few steps."""

import importlib.util

import numpy as np
import pytest
from pyarrow import parquet

from distill_rl.cli.experiments.consistency_rl import BASELINES, offline_specs
from distill_rl.cli.experiments.offline_contenders import make_contender
from distill_rl.cli.experiments.offline_run import train_offline
from distill_rl.cli.experiments.offline_spec import OfflineSpec
from distill_rl.cli.experiments.rllib_offline import iql_reward_scale, write_parquet
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import save_dataset

_LEARNING = {
    "hidden_sizes": [8, 8],
    "batch_size": 8,
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "critic_ema_decay": 0.9,
    "discount": 0.99,
}


def make_dataset():
    """Returns three episodes of ten steps; the second one is terminated, and no transition crosses an end."""
    generator = np.random.default_rng(0)
    observations = generator.normal(3.0, 2.0, (31, 4)).astype(np.float32)
    terminals = np.zeros(30, bool)
    terminals[19] = True
    is_transition = np.ones(30, bool)
    is_transition[[9, 29]] = False
    return OfflineDataset(
        observations=observations[:-1],
        actions=generator.uniform(-1, 1, (30, 1)).astype(np.float32),
        rewards=np.repeat([1.0, 2.0, 6.0], 10).astype(np.float32),
        next_observations=observations[1:],
        terminals=terminals,
        is_transition=is_transition,
        episode_ends=np.array([10, 20, 30]),
        metadata={"name": "few", "source": "made up", "reference": "hopper-medium-replay-v2"},
    )


def make_spec(library, method, dataset, learning=None):
    """Returns four updates with two evaluations in the inverted pendulum."""
    return OfflineSpec(
        part="baselines",
        label=method,
        task="pendulum",
        env="InvertedPendulum-v5",
        dataset=dataset,
        seed=0,
        max_updates=4,
        evaluation_updates=2,
        num_episodes=1,
        learning=learning or _LEARNING,
        library=library,
        method=method,
    )


def check_rows(rows):
    assert [row["updates"] for row in rows] == [2, 4]
    assert all(row["episode_return"] > 0 and row["action_msec"] > 0 and row["train_sec"] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bc", "cql", "iql"])
def test_rllib_learns_and_acts(method, tmp_path, ray_cluster):
    save_dataset(make_dataset(), tmp_path / "few")
    check_rows(train_offline(make_spec("rllib", method, str(tmp_path / "few"))))


@pytest.mark.skipif(importlib.util.find_spec("d3rlpy") is None, reason="d3rlpy is not installed")
def test_the_decision_transformer_learns_and_acts(tmp_path):
    save_dataset(make_dataset(), tmp_path / "few")
    spec = make_spec(
        "d3rlpy", "decision_transformer", str(tmp_path / "few"), {"batch_size": 2, "learning_rate": 1e-3}
    )
    check_rows(train_offline(spec))


def test_rllib_is_given_the_transitions(tmp_path):
    """One row each, shuffled, in episodes that end where the dataset's do."""
    dataset, path = make_dataset(), tmp_path / "steps.parquet"
    write_parquet(dataset, lambda observation: observation - 1.0, 2.0, path, np.random.default_rng(0))
    table = parquet.read_table(path).to_pydict()
    rows = np.random.default_rng(0).permutation(dataset.transition_rows)
    assert sorted(rows) != list(rows)
    assert table["eps_id"] == [f"{row // 10}" for row in rows]
    np.testing.assert_allclose(table["obs"], dataset.observations[rows] - 1.0)
    np.testing.assert_allclose(table["new_obs"], dataset.next_observations[rows] - 1.0)
    np.testing.assert_allclose(table["actions"], dataset.actions[rows])
    np.testing.assert_allclose(table["rewards"], 2.0 * dataset.rewards[rows])
    assert np.flatnonzero(table["terminateds"]).tolist() == [rows.tolist().index(19)]
    last = [rows.tolist().index(row) for row in (8, 28)]
    assert np.flatnonzero(table["truncateds"]).tolist() == sorted(last)


def test_returns_span_three_thousand_for_iql():
    assert iql_reward_scale(make_dataset()) == pytest.approx(3_000.0 / (60.0 - 10.0))


def test_an_unknown_library_is_refused():
    with pytest.raises(ValueError, match="`library` must be"):
        make_contender(make_spec("tianshou", "bc", "few"), make_dataset())


def test_every_baseline_stands_beside_every_task():
    """With the batch, the step sizes and the layers of our methods."""
    specs = offline_specs("small")
    for name, label in BASELINES.items():
        spec = specs[f"walker2d_full_replay-{name}-seed0"]
        assert spec.label == label and f"{spec.library}-{spec.method}" == name
    ours = specs["hopper_medium_replay-consistency_ac-seed0"].learning
    theirs = specs["hopper_medium_replay-rllib-cql-seed0"].learning
    assert theirs["hidden_sizes"] == tuple(ours["hidden_sizes"]) and theirs["batch_size"] == 256
    assert theirs["critic_ema_decay"] == ours["critic_ema_decay"]
