"""Offline learning as an experiment, on a dataset of a few steps."""

import json

import numpy as np
import pytest

from distill_rl.cli.experiments import EXPERIMENTS
from distill_rl.cli.experiments.consistency_rl import LABELS, OTHER_ACTING, offline_specs
from distill_rl.cli.experiments.consistency_rl_results import selected, split_runs, write_table
from distill_rl.cli.reproduce import reproduce
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import dataset_path, save_dataset


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """Saves a dataset of the sizes of Hopper under the name that the experiment learns from."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path / "datasets"))
    generator = np.random.default_rng(0)
    num_steps = 40
    dataset = OfflineDataset(
        observations=generator.normal(size=(num_steps, 11)).astype(np.float32),
        actions=generator.uniform(-1, 1, (num_steps, 3)).astype(np.float32),
        rewards=generator.normal(size=num_steps).astype(np.float32),
        next_observations=generator.normal(size=(num_steps, 11)).astype(np.float32),
        terminals=np.zeros(num_steps, bool),
        is_transition=np.ones(num_steps, bool),
        episode_ends=np.array([num_steps]),
        metadata={"name": "own", "source": "made up", "reference": "hopper-medium-replay-v2"},
    )
    save_dataset(dataset, dataset_path("own-hopper-medium-replay"))


def test_every_method_and_ablation_runs(own_data, tmp_path):
    """Rows, table and figures; a second call runs nothing again."""
    notes = []
    paths = reproduce("consistency_rl", "tiny", tmp_path / "out", notes.append)
    rows = json.loads(paths[0].read_text())
    assert {row["label"] for row in rows if row["part"] == "methods"} == {
        *LABELS.values(),
        *OTHER_ACTING["critic_distill"],
    }
    assert sum("LN-ResNet" in row["label"] for row in rows) == 4
    assert all(np.isfinite(row["score"]) and row["train_sec"] > 0 for row in rows)
    assert [row["updates"] for row in rows[:2]] == [2, 4]
    table = paths[1].read_text()
    assert "own-hopper-medium-replay" in table and "CriticDistill (ours)" in table
    assert all(path.stat().st_size > 5_000 for path in paths[2:])
    again = []
    reproduce("consistency_rl", "tiny", tmp_path / "out", again.append)
    assert len(again) == len(notes) and all("already there" in note for note in again)


def test_all_missing_datasets_are_told_before_the_first_job(tmp_path, monkeypatch):
    """Nine files of D4RL, each once; no job has begun."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="must hold all datasets, got none of these") as raised:
        EXPERIMENTS["consistency_rl"].run("full", tmp_path / "out", lambda note: None)
    lines = [line.strip() for line in str(raised.value).splitlines()[1:]]
    assert len(set(lines)) == len(lines) == 9
    name = "walker2d-medium-v2"
    assert f"{name}: distill-rl datasets import FILE --name {name}" in lines
    assert not (tmp_path / "out").exists()


def test_full_scale_has_the_published_settings():
    """Nine tasks of D4RL with two million updates each, five published methods and ours, three seeds."""
    specs = offline_specs("full")
    methods = [spec for spec in specs.values() if spec.part == "methods"]
    assert len(methods) == 9 * 6 * 3
    spec = specs["walker2d_medium-consistency_ac-seed0"]
    assert spec.dataset == "walker2d-medium-v2" and spec.max_updates == 2_000_000
    assert spec.learning["num_sampling_steps"] == 5 and spec.learning["normalize_q_targets"] is True
    assert specs["walker2d_medium-diffusion_ql-seed0"].learning["q_weight"] == 1.0


def test_selections_choose_by_what_they_may_see():
    """Online by returns, offline by the loss, and the last one by nothing."""
    run = [
        {"episode_return": 1.0, "behaviour_loss": 0.1, "updates": 1},
        {"episode_return": 9.0, "behaviour_loss": 0.3, "updates": 2},
        {"episode_return": 5.0, "behaviour_loss": 0.2, "updates": 3},
    ]
    assert [selected(run, rule)["updates"] for rule in ("final", "online", "offline")] == [3, 2, 1]


def test_table_gives_mean_and_range_over_seeds():
    """Of scores where there is a scale."""
    common = {
        "part": "methods",
        "label": "A",
        "task": "t",
        "dataset": "d",
        "train_sec": 2.0,
        "action_msec": 1.0,
    }
    rows = [
        common | {"seed": seed, "score": 10.0 * seed, "episode_return": 0.0, "behaviour_loss": 1.0}
        for seed in (1, 2, 3)
    ]
    assert len(split_runs(rows)["A"]) == 3
    assert "| A | 3 | 20.0 (10.0 to 30.0) |" in write_table(rows)
