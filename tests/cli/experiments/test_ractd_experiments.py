"""Teacher and students as experiments, on a dataset of a few steps."""

import json

import numpy as np
import pytest

from distill_rl.cli.experiments import EXPERIMENTS
from distill_rl.cli.experiments.mode_selection import threshold
from distill_rl.cli.experiments.ractd import last_rows, ractd_specs, students
from distill_rl.cli.experiments.ractd_run import action_spread
from distill_rl.cli.experiments.ractd_spec import AWARE, DATA, RACTD, REWARD_FREE, TEACHER
from distill_rl.cli.reproduce import reproduce
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import dataset_path, save_dataset


@pytest.fixture(autouse=True)
def _own_data(tmp_path, monkeypatch):
    """Saves datasets of the sizes of Hopper, of two episodes, under the names that are learned from."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path / "datasets"))
    generator = np.random.default_rng(0)
    num_steps = 40
    for kind in ("medium-replay", "medium-expert"):
        dataset = OfflineDataset(
            observations=generator.normal(size=(num_steps, 11)).astype(np.float32),
            actions=generator.uniform(-1, 1, (num_steps, 3)).astype(np.float32),
            rewards=np.repeat([1.0, 3.0], num_steps // 2).astype(np.float32),
            next_observations=generator.normal(size=(num_steps, 11)).astype(np.float32),
            terminals=np.zeros(num_steps, bool),
            is_transition=np.ones(num_steps, bool),
            episode_ends=np.array([num_steps // 2, num_steps]),
            metadata={"name": f"own {kind}", "source": "made up", "reference": f"hopper-{kind}-v2"},
        )
        save_dataset(dataset, dataset_path(f"own-hopper-{kind}"))


def test_teachers_and_students_are_judged(tmp_path):
    """Both kinds of teacher, two students of each, more jumps; a second call runs nothing again."""
    notes = []
    paths = reproduce("ractd", "tiny", tmp_path / "out", notes.append)
    rows = json.loads(paths[0].read_text())
    found = last_rows(rows, "hopper_medium_replay")
    of_one = [
        label + jumps
        for label in (REWARD_FREE, RACTD)
        for jumps in ("", *(f", {count} jumps" for count in (2, 3, 4)))
    ]
    of_other = [f"{REWARD_FREE} of the {AWARE}", f"{RACTD} of the {AWARE}"]
    assert set(found) >= {DATA, TEACHER, AWARE, *of_one, *of_other}
    assert found[DATA][0]["episode_returns"] == [20.0, 60.0]
    for row in rows[1:]:
        assert np.isfinite(row["score"]) and row["train_sec"] > 0.0 and row["action_msec"] > 0.0
        assert row["episode_return"] == pytest.approx(np.mean(row["episode_returns"]))
        assert ("action_spread" in row) == row.get("is_last", True)
    curve = [r["updates"] for r in rows if r["part"] == "student" and r["num_jumps"] == 1][:2]
    assert curve == [1, 2]
    table = paths[1].read_text()
    assert "own-hopper-medium-replay" in table and "| RACTD, 4 jumps |" in table
    assert all(path.stat().st_size > 5_000 for path in paths[2:])
    again = []
    reproduce("ractd", "tiny", tmp_path / "out", again.append)
    assert len(again) == len(notes) and all("already there" in note for note in again)


@pytest.mark.parametrize(
    ("name", "told"), [("mode_selection", "episodes in the upper mode"), ("reward_weight", "| weight 1 |")]
)
def test_modes_and_weights_are_tabled_and_drawn(name, told, tmp_path):
    paths = reproduce(name, "tiny", tmp_path / "out", lambda note: None)
    assert told in paths[1].read_text()
    assert all(path.stat().st_size > 5_000 for path in paths[2:])


def test_spread_is_that_of_draws_in_one_state():
    """Against the deviation that is drawn with; what differs from state to state does not count."""

    class Drawing:
        def act(self, observation, num_steps):
            deviation = 0.1 if num_steps is None else 0.2
            return observation[:, :2] + generator.normal(0.0, deviation, (len(observation), 2))

    generator = np.random.default_rng(0)
    states = generator.normal(0.0, 5.0, (400, 3))
    assert action_spread(Drawing(), states, 16) == pytest.approx(0.1, rel=0.03)
    assert action_spread(Drawing(), states, 16, num_steps=4) == pytest.approx(0.2, rel=0.03)
    with pytest.raises(ValueError, match="`num_draws` must be 2 or more, got 1"):
        action_spread(Drawing(), states, 1)


def test_small_scale_compares_teachers_too():
    """On a whole replay, by the settings of medium-replay; a teacher's weight is that of its students."""
    specs = ractd_specs("small")
    assert len(specs) == 3 * 3
    spec = specs["hopper_full_replay-seed2"]
    assert spec.dataset == "own-hopper-full-replay"
    assert spec.learning == specs["hopper_medium_replay-seed2"].learning
    assert spec.teachers == {TEACHER: {}, AWARE: {"teacher_reward_weight": 0.01}}
    assert spec.jumps == (2, 3, 4)
    for kind in ("medium_expert", "medium_replay"):
        assert specs[f"hopper_{kind}-seed0"].teachers == {TEACHER: {}}


def test_full_scale_has_the_published_settings():
    """Nine tasks of D4RL, three seeds; both teachers where the paper has them; the weights of its table."""
    specs = ractd_specs("full")
    assert len(specs) == 9 * 3
    spec = specs["walker2d_medium-seed0"]
    assert spec.dataset == "walker2d-medium-v2" and spec.num_episodes == 100
    assert spec.teachers == {TEACHER: {}, AWARE: {"teacher_reward_weight": 0.4}}
    assert spec.students == {REWARD_FREE: {"reward_weight": 0.0}, RACTD: {"reward_weight": 0.4}}
    assert spec.learning["discount"] == 0.99 and "level_sizes" not in spec.learning  # the class's own
    assert specs["hopper_medium_replay-seed1"].jumps == (2, 3, 4)


def test_students_without_a_published_weight_take_that_of_medium_replay():
    """The paper's is 0 for Hopper's medium-expert data, and its Figure 3 is of them."""
    assert students("full", "hopper_medium_expert")[RACTD] == {"reward_weight": 1.0}


def test_modes_are_parted_where_both_are_narrow():
    """Against every cut, one by one."""
    generator = np.random.default_rng(0)
    low, high = generator.normal(900.0, 150.0, 60), generator.normal(2_400.0, 200.0, 20)
    values = np.sort(np.concatenate([low, high]))
    costs = {k: k * values[:k].var() + (80 - k) * values[k:].var() for k in range(1, 80)}
    best = min(costs, key=costs.get)
    assert threshold(values.tolist()) == pytest.approx(0.5 * (values[best - 1] + values[best]))
    assert low.max() < threshold(values.tolist()) < high.min()


def test_returns_without_modes_are_refused():
    for returns in ([3.0, 3.0], [1.0], []):
        with pytest.raises(ValueError, match=f"must hold two that differ, got {len(returns)} alike"):
            threshold(returns)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        (
            "ractd",
            [
                "own-hopper-medium-expert: distill-rl collect hopper --kind medium-expert",
                "own-hopper-medium-replay: distill-rl collect hopper --kind medium-replay",
                "own-hopper-full-replay: distill-rl collect hopper --kind full-replay",
            ],
        ),
        ("mode_selection", ["own-hopper-medium-expert: distill-rl collect hopper --kind medium-expert"]),
        ("reward_weight", ["own-hopper-full-replay: distill-rl collect hopper --kind full-replay"]),
    ],
)
def test_all_missing_datasets_are_told_before_the_first_job(name, missing, tmp_path, monkeypatch):
    """With the commands that bring them; no job has begun."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="must hold all datasets, got none of these") as raised:
        EXPERIMENTS[name].run("small", tmp_path / "out", print)
    assert [line.strip() for line in str(raised.value).splitlines()[1:]] == missing
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["ractd", "mode_selection", "reward_weight"])
def test_an_unknown_scale_is_named(name, tmp_path):
    with pytest.raises(ValueError, match=r"`scale` must be one of .*did you mean 'small'"):
        EXPERIMENTS[name].run("smal", tmp_path, print)
