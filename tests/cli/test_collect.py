"""`distill-rl collect`: datasets on the disk, made once, the same for a seed."""

import json
import shlex

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from typer.testing import CliRunner

from distill_rl.cli.main import app
from distill_rl.datasets.minari_format import read_minari
from distill_rl.datasets.store import dataset_names, load_dataset
from distill_rl.policies.kinds import make_chunk_policy, make_policy
from distill_rl.policies.loading import load_policy, save_policy

_TINY = (
    "inverted_pendulum env_runners.num_envs_per_env_runner=4 search.num_candidates=4 search.num_perturbed=2 "
    "search.ascent_steps=[0.5] search.horizon_steps=2 search.hold_steps=1 distillation.hidden_sizes=[16] "
    "distillation.batch_size=16 loop.learning_starts=32 reporting.min_sample_timesteps_per_iteration=100"
)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def _run(arguments):
    found = CliRunner().invoke(app, ["collect", *shlex.split(arguments)])
    return found.exit_code, found.output


@pytest.mark.ray
def test_policies_of_a_training_become_datasets(ray_cluster, tmp_path):
    """Every kind, from one training, with what is known about each; a second call finds all there."""
    arguments = f"{_TINY} --steps 60 --training-steps 400 --evaluation-steps 100 --seed 1"
    code, output = _run(f"{arguments} --minari-id own")
    assert code == 0, output
    kinds = ("random", "medium-replay", "medium", "expert", "medium-expert", "full-replay")
    sets = {kind: load_dataset(f"own-inverted-pendulum-{kind}") for kind in kinds}
    for kind, dataset in sets.items():
        assert dataset.validate().metadata["kind"] == kind
        assert dataset.metadata["env"] == "InvertedPendulum-v5" and dataset.metadata["seed"] == 1
        assert dataset.metadata["action_high"] == [3.0]
        assert (dataset.behaviour_log_probs is None) == ("replay" in kind)
    training = json.loads((tmp_path / "datasets/.trainings/own-inverted-pendulum/result.json").read_text())
    medium, expert = (training["policies"][kind] for kind in ("medium", "expert"))
    assert training["evaluations"][0]["env_steps"] == 0
    assert expert["mean_return"] == max(row["mean_return"] for row in training["evaluations"])
    assert expert["mean_return"] / 3 <= medium["mean_return"] < expert["mean_return"]
    assert len(sets["medium-replay"]) == medium["env_steps"]
    assert 400 <= len(sets["full-replay"]) == training["evaluations"][-1]["env_steps"] < 500
    _check_replays(sets["medium-replay"], sets["full-replay"])
    _check_noise(sets["expert"], tmp_path / "datasets/.trainings/own-inverted-pendulum/expert")
    joined = np.concatenate([sets["medium"].actions, sets["expert"].actions])
    np.testing.assert_array_equal(sets["medium-expert"].actions, joined)
    read = read_minari("own/inverted-pendulum/expert-v0")
    np.testing.assert_allclose(read.actions, sets["expert"].actions, atol=1e-6)
    np.testing.assert_allclose(read.behaviour_log_probs, sets["expert"].behaviour_log_probs, atol=1e-5)

    code, output = _run(f"{arguments} --prefix again --kind medium")
    assert code == 0 and "training on InvertedPendulum-v5 for 400 steps" in output
    for name in ("observations", "actions", "behaviour_log_probs"):
        again = load_dataset("again-inverted-pendulum-medium")
        np.testing.assert_array_equal(getattr(again, name), getattr(sets["medium"], name))
    code, output = _run(arguments)
    assert code == 0 and "training on" not in output and output.count("already there") == len(kinds)
    code, output = _run(f"{arguments} --noise-scale 0.2 --kind expert")
    assert code == 2 and "came about in another way; it is replaced with --overwrite" in output
    code, output = _run(f"{arguments} --noise-scale 0.2 --kind expert --overwrite")
    assert code == 0 and "training on" not in output


def _check_replays(medium, full):
    """The medium replay is the beginning of the full one, whose steps follow the physics of the pendulum."""
    for dataset in (medium, full):
        for steps in dataset.episodes():
            following, before = dataset.next_observations[steps][:-1], dataset.observations[steps][1:]
            np.testing.assert_array_equal(following, before)
        # A pendulum that leans by more than 0.2 rad has fallen, and only that ends an episode by itself.
        np.testing.assert_array_equal(dataset.terminals, np.abs(dataset.next_observations[:, 1]) > 0.2)
    rows = {row.tobytes() for row in np.hstack([full.observations, full.actions])}
    assert all(row.tobytes() in rows for row in np.hstack([medium.observations, medium.actions]))
    assert len(rows) == len(full)


def _check_noise(dataset, folder):
    """Actions are about the saved policy's zero-noise actions, and as far from them as the noise says."""
    noise = dataset.actions - load_policy(folder).act(np.array(dataset.observations))
    assert 0.03 < np.abs(noise).mean() < 0.12


def _save(path, kind="gaussian", **changes):
    """Saves a policy of the pendulum, with weights of its own for each kind."""
    metadata = {"env": "InvertedPendulum-v5", "env_config": {}, "action_repeat": 1} | changes
    return save_policy(
        make_policy(kind, observation_size=4, action_size=1, hidden_sizes=(8,)), path, metadata
    )


def test_a_saved_policy_is_collected_from(tmp_path):
    """Noise about what it does without noise, however it was saved to act; nothing is trained."""
    path = _save(tmp_path / "mine", acting={"noise_scale": 1.0})
    arguments = f"inverted_pendulum --from {path} --steps 200 --minari-id own"
    code, output = _run(arguments)
    assert code == 0, output
    assert dataset_names() == ["own-inverted-pendulum-expert", "own-inverted-pendulum-random"]
    assert not (tmp_path / "datasets" / ".trainings").exists()
    dataset = load_dataset("own-inverted-pendulum-expert")
    means = load_policy(path).act(np.array(dataset.observations), noise_scale=0.0)
    assert 0.03 < np.abs(dataset.actions - means).mean() < 0.12
    assert dataset.behaviour_log_probs is not None
    assert dataset.metadata["source"] == "own: truncated normal of scale 0.05 about the policy of mine"
    assert len(read_minari("own/inverted-pendulum/expert-v0")) == len(dataset)
    code, output = _run(arguments)
    assert code == 0 and output.count("already there") == 2
    code, output = _run(f"inverted_pendulum --from {_save(tmp_path / 'other')} --steps 200 --kind expert")
    assert code == 2 and "came about in another way" in output


def test_random_data_do_not_depend_on_where_the_expert_comes_from(tmp_path):
    """The same recipe, the same steps."""
    assert _run(f"inverted_pendulum --from {_save(tmp_path / 'mine')} --steps 50 --kind random")[0] == 0
    code, output = _run("inverted_pendulum --steps 50 --kind random")
    assert code == 0 and "already there" in output
    assert _run("inverted_pendulum --steps 50 --kind random --prefix again")[0] == 0
    first, again = (load_dataset(f"{prefix}-inverted-pendulum-random") for prefix in ("own", "again"))
    np.testing.assert_array_equal(first.actions, again.actions)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, "--kind medium", "`kind with --from` must be one of all, expert, random; got 'medium'"),
        ({}, "--training-steps 9", "`--training-steps` must be left out with --from"),
        (
            {"env": "Hopper-v5"},
            "",
            "must hold a policy of env = 'InvertedPendulum-v5' for inverted_pendulum, got",
        ),
        ({"action_repeat": 2}, "", "must hold a policy of action_repeat = 1 for inverted_pendulum, got 2"),
        (
            {"env_config": {"a": 1}},
            "",
            "must hold a policy of env_config = {} for inverted_pendulum, got {'a'",
        ),
    ],
)
def test_a_saved_policy_of_something_else_is_refused(changes, arguments, message, tmp_path):
    """Before anything is written."""
    code, output = _run(f"inverted_pendulum --from {_save(tmp_path / 'mine', **changes)} {arguments}")
    assert code == 2 and message in output, output
    assert dataset_names() == []


def test_a_policy_over_chunks_is_no_source(tmp_path):
    """It acts by plans that episodes carry on."""
    policy = make_chunk_policy(
        "chunk_consistency", observation_size=4, action_size=1, horizon=4, level_sizes=(8, 8)
    )
    save_policy(policy, tmp_path / "chunks", {"env": "InvertedPendulum-v5"})
    code, output = _run(f"inverted_pendulum --from {tmp_path / 'chunks'}")
    assert code == 2 and "must hold a policy of single actions, got one over chunks" in output, output


_PLANNED = (
    "inverted_pendulum --planner mppi search.num_candidates=8 search.horizon_steps=8 search.hold_steps=2 "
    "--steps 60"
)


def test_a_planner_is_collected_from(tmp_path):
    """Noise about its plans, in whole episodes; nothing is trained, and a seed gives the same steps again."""
    code, output = _run(f"{_PLANNED} --minari-id own")
    assert code == 0, output
    assert dataset_names() == ["own-inverted-pendulum-expert", "own-inverted-pendulum-random"]
    assert not (tmp_path / "datasets" / ".trainings").exists()
    dataset = load_dataset("own-inverted-pendulum-expert").validate()
    assert dataset.metadata["source"] == "own: truncated normal of scale 0.05 about the decisions of mppi"
    assert dataset.behaviour_log_probs is None
    recipe = dataset.metadata["recipe"]
    expected = {"kind": "expert", "seed": 0, "num_steps": 60, "noise_scale": 0.05, "planner": "mppi"}
    expected |= {"env": "InvertedPendulum-v5", "env_config": {}}
    assert expected.items() <= recipe.items()
    planned = {"num_candidates": 8, "horizon_steps": 8, "hold_steps": 2, "target_kl": 0.7, "scale": 0.6}
    assert planned.items() <= recipe["planner_settings"].items()
    assert len(read_minari("own/inverted-pendulum/expert-v0")) == len(dataset)
    code, output = _run(_PLANNED)
    assert code == 0 and output.count("already there") == 2
    assert _run(f"{_PLANNED} --prefix again --kind expert")[0] == 0
    again = load_dataset("again-inverted-pendulum-expert")
    for name in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(again, name), getattr(dataset, name))


@pytest.mark.parametrize(
    "change",
    ["search.num_candidates=9", "search.scale=0.5", "--planner cem", "--seed 1", "--steps 61"],
)
def test_another_way_of_planning_is_another_dataset(change, tmp_path):
    """Whatever the steps depend on."""
    assert _run(f"{_PLANNED} --kind expert")[0] == 0
    code, output = _run(f"{_PLANNED} --kind expert {change}")
    assert code == 2 and "came about in another way" in output, output


class _Uncopyable(gym.Env):
    """Waits for something that no copy can wait for."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self):
        self._lines = (line for line in "abc")


def test_a_planner_needs_a_simulator(tmp_path, monkeypatch):
    """Which is told before anything is rolled out."""
    monkeypatch.setitem(gym.registry, "Uncopyable-v0", EnvSpec("Uncopyable-v0", _Uncopyable))
    code, output = _run(f"{_PLANNED} environment.env=Uncopyable-v0")
    assert code == 2 and "`env` must have a state that can be copied, got" in output, output
    assert dataset_names() == []


def test_mazes_need_no_training(tmp_path):
    """One command, three sets; names, scale and source tell what they are, and that they are not D4RL's."""
    code, output = _run("maze2d --steps 300 --minari-id own")
    assert code == 0, output
    assert dataset_names() == ["own-maze2d-large", "own-maze2d-medium", "own-maze2d-umaze"]
    assert len(load_dataset("own-maze2d-large")) == 800
    assert len(read_minari("own/maze2d/umaze-v0")) == 300
    assert not (tmp_path / "datasets" / ".trainings").exists()
    shown = CliRunner().invoke(app, ["datasets", "show", "own-maze2d-umaze"]).output
    assert "on the scale of maze2d-umaze-v1, of which these are no part" in shown
    assert "own: waypoint controller" in shown
    mean_return = load_dataset("own-maze2d-umaze").episode_returns().mean()
    assert f"score {100 * (mean_return - 23.85) / (161.86 - 23.85):.1f} on" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("hopper --kind mediun", "`kind` must be one of"),
        ("hopper --kind mediun", "did you mean 'medium'"),
        ("maze2d --kind expert", "`kind` must be one of all, large, medium, umaze; got 'expert'"),
        ("hoper", "did you mean 'hopper'"),
        ("search.discount=0.9", "a preset must be named, or maze2d"),
        ("maze2d search.discount=0.9", "mazes have none"),
        ("hopper search.discont=0.9", "did you mean 'discount'"),
        ("hopper environment.env=Hoper-v5", "must be a registered environment, got 'Hoper-v5'"),
        ("hopper environment.env_config.action_repeat=2", "action_repeat` must be 1 here, got 2"),
        ("hopper env_runners.num_env_runners=2", "`env_runners.num_env_runners` must be 0"),
        ("hopper_medium_replay", "`run.algorithm` must be distill here, which takes steps; got"),
        ("hopper run.max_env_steps=null", "`run.max_env_steps` must be an integer of at least 1, got None"),
        ("hopper --noise-scale 0", "`noise_scale` must be positive, got 0"),
        (
            "hopper --minari-id o.wn",
            "`--minari-id PREFIX/TASK/KIND-v0` must be of the form own/hopper/medium-v0",
        ),
        ("maze2d --minari-id /own", "got '/own/maze2d/umaze-v0'"),
        ("maze2d --from runs/x", "`--from` must be left out for mazes, got 'runs/x'"),
        ("hopper --from runs/x", "`runs/x` must hold a policy"),
        ("hopper --planner mpi", "`--planner` must be one of cem, gumbel_muzero, mppi,"),
        ("hopper --planner mpi", "got 'mpi' (did you mean 'mppi'?)"),
        ("hopper --planner critic", "`--planner` must be one of"),
        ("hopper --planner mppi --from runs/x", "`--from` must be left out with --planner, got 'runs/x'"),
        ("hopper --planner mppi --training-steps 9", "`--training-steps` must be left out with --planner"),
        (
            "hopper --planner mppi --kind medium",
            "`kind with --planner` must be one of all, expert, random; got 'medium'",
        ),
        ("hopper --planner mppi search.ascent_steps=[1.0]", "no option 'ascent_steps'"),
        (
            "hopper --planner mppi search.operator=cem",
            "`search.operator` must be left out with --planner mppi, got 'cem'",
        ),
        ("hopper --planner cem search.num_elites=99", "`num_elites` must be at most num_candidates"),
        ("maze2d --planner mppi", "`--planner` must be left out for mazes, got 'mppi'"),
        ("hopper --prefix a/b", "`name` must be that of a plain folder"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    """No trace, status 2, and nothing left behind."""
    code, output = _run(arguments)
    assert code == 2 and message in output, output
    assert "Traceback" not in output and list(tmp_path.iterdir()) == []
