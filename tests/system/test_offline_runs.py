"""Learning from a tiny dataset of the inverted pendulum: the algorithms, and whole runs of the driver."""

import io
import json
import math

import numpy as np
import pytest
import torch
from ray import tune
from ray.rllib.core import DEFAULT_MODULE_ID
from rich.console import Console
from typer.testing import CliRunner

from distill_rl.algorithms.offline_config import OFFLINE_METHODS
from distill_rl.cli.arguments import TrainArguments, resolve_sections
from distill_rl.cli.evaluation import StudentSettings, evaluate_path, load_networks
from distill_rl.cli.main import app
from distill_rl.cli.presets import dump_sections, read_sections
from distill_rl.cli.training import run_training
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.scores import REFERENCE_SCORES, normalized_score
from distill_rl.datasets.store import load_dataset, save_dataset
from distill_rl.envs import make_env
from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.loading import load_policy
from distill_rl.storage.checkpoints import CheckpointStore, find_problems
from distill_rl.storage.metrics import read_metrics
from distill_rl.storage.run_folder import RunFolder

pytestmark = pytest.mark.ray

_ENV = "InvertedPendulum-v5"
_METHODS = list(OFFLINE_METHODS)
_NAME = "pendulum"
_REFERENCE = "hopper-medium-v2"  # for a scale of scores; any will do
_SMALL = {
    "hidden_sizes": [8],
    "batch_size": 16,
    "num_references": 4,
    "num_reference_states": 8,
    "updates_per_iteration": 4,
    "ema_start_updates": 2,
}


def _collect(num_episodes=12):
    """Episodes of a linear controller that mostly keeps the pole up, with noise; each ends when it falls."""
    env, generator = make_env(_ENV), np.random.default_rng(0)
    columns = {"observations": [], "actions": [], "rewards": [], "next_observations": [], "terminals": []}
    ends = []
    for episode in range(num_episodes):
        observation, _ = env.reset(seed=episode)
        for _ in range(20):
            action = np.clip(observation @ [0.1, 3.0, 0.2, 0.6] + generator.normal(0.0, 0.5, 1), -1.0, 1.0)
            following, reward, terminated, _, _ = env.step(action.astype(np.float32))
            row = (observation, action, reward, following, terminated)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            observation = following
            if terminated:
                break
        ends.append(len(columns["rewards"]))
    env.close()
    arrays = {name: np.array(column, np.float32) for name, column in columns.items()}
    arrays["terminals"] = arrays["terminals"].astype(bool)
    return OfflineDataset(
        **arrays,
        is_transition=np.ones(ends[-1], bool),
        episode_ends=np.array(ends),
        metadata={"name": _NAME, "source": "here", "reference": _REFERENCE},
    )


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory):
    """A folder of datasets that holds one."""
    folder = tmp_path_factory.mktemp("datasets")
    save_dataset(_collect(), folder / _NAME)
    return folder


@pytest.fixture(autouse=True)
def _datasets(dataset_folder, monkeypatch):
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(dataset_folder))


def make_config(method, **learning):
    """Returns a method on the dataset, with small networks, evaluated by two short episodes."""
    small = _SMALL | ({"num_action_candidates": 3} if method in ("consistency_ac", "diffusion_ql") else {})
    return (
        OFFLINE_METHODS[method]()
        .environment(_ENV)
        .dataset(name=_NAME)
        .learning(**{**small, **learning})
        .learners(num_learners=0)
        .env_runners(num_envs_per_env_runner=2)
        .evaluation(evaluation_interval=100, evaluation_duration=2)
        .debugging(seed=0)
    )


def learner_weights(algorithm):
    return algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("method", _METHODS)
def test_each_method_trains_evaluates_and_restores(ray_cluster, tmp_path, method):
    """It keeps its books, and goes back to a checkpoint in place and in a new object with equal results."""
    config = make_config(method)
    algorithm = config.build_algo()
    assert algorithm.description.startswith(f"dataset: {_NAME}, ")
    for _ in range(2):
        result = algorithm.train()
    loop = result["loop"]
    assert (loop["updates"], loop["skipped_updates"], loop["rollbacks"]) == (8, 0, 0)
    assert loop["epochs"] == pytest.approx(8 * 16 / len(load_dataset(_NAME)))
    assert loop["transitions_per_sec"] == pytest.approx(16 * loop["updates_per_sec"]) != 0.0
    learner = result["learners"][DEFAULT_MODULE_ID]
    assert math.isfinite(learner["behaviour_loss"])
    assert ("critic_loss" in learner) == (config.learning_options.get("improvement", "none") != "none")
    evaluation = algorithm.evaluate()["env_runners"]
    assert evaluation["num_episodes"] == 2 and math.isfinite(evaluation["episode_return_mean"])
    # Back to an earlier time, in place, and in a new object.
    algorithm.save_to_path(str(tmp_path))
    saved = learner_weights(algorithm)
    algorithm.train()
    later = learner_weights(algorithm)
    algorithm.restore_from_path(str(tmp_path))
    assert_equal(learner_weights(algorithm), saved)
    restored = type(algorithm).from_checkpoint(str(tmp_path))
    assert_equal(learner_weights(restored), saved)
    for each in (algorithm, restored):
        loop = each.train()["loop"]
        assert loop["updates"] == 12 and loop["updates_per_sec"] > 0.0
        assert_equal(learner_weights(each), later)
        each.stop()


def test_without_an_environment_the_sizes_are_those_of_the_dataset(ray_cluster):
    """Training needs no more."""
    config = make_config("consistency_ac").environment(None).evaluation(evaluation_interval=None)
    algorithm = config.build_algo()
    assert algorithm.train()["loop"]["updates"] == 4
    weights = learner_weights(algorithm)
    assert weights["networks.policy.normalizer.mean"].shape == (4,)
    assert weights["networks.policy.mlp.3.bias"].shape == (1,)
    algorithm.stop()


def test_an_evaluation_is_part_of_the_result(ray_cluster):
    """At its interval; the policy that it judges is the one just learned."""
    algorithm = make_config("gaussian_bc").evaluation(evaluation_interval=2).build_algo()
    assert "evaluation" not in algorithm.train()
    assert algorithm.train()["evaluation"]["env_runners"]["num_episodes"] == 2
    judged = algorithm.eval_env_runner_group.local_env_runner.module.get_state()
    learned = learner_weights(algorithm)
    assert_equal({name: np.asarray(judged[name]) for name in learned}, learned)
    assert_equal(algorithm.get_module().get_state(), learned)
    algorithm.stop()


def test_observations_are_normalised_by_the_dataset(ray_cluster):
    """Mean and variance of all its observations, in the policy and the critic, before and after updates."""
    algorithm = make_config("consistency_ac").build_algo()
    algorithm.train()
    observations = load_dataset(_NAME).observations
    weights = learner_weights(algorithm)
    for network in ("policy", "critic"):
        mean, var = (weights[f"networks.{network}.normalizer.{name}"] for name in ("mean", "var"))
        np.testing.assert_allclose(mean, observations.mean(0), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(var, observations.var(0), rtol=1e-3)
    algorithm.stop()


def test_one_process_repeats_itself(ray_cluster):
    """The same seed gives the same weights; another gives others."""
    weights = []
    for seed in (0, 0, 1):
        algorithm = make_config("consistency_ac").debugging(seed=seed).build_algo()
        algorithm.train()
        weights.append(learner_weights(algorithm))
        algorithm.stop()
    assert_equal(weights[0], weights[1])
    assert not all(np.array_equal(weights[0][name], weights[2][name]) for name in weights[0])


@pytest.mark.slow
def test_two_learners_share_the_work_and_hold_the_same_weights(ray_cluster, tmp_path, dataset_folder):
    """Half of the batch, transitions and draws of its own for each, also after going on from a checkpoint."""

    def report(learner):
        trainer, draws = learner.trainer, learner._generator.bit_generator.state
        sizes = (trainer.config.batch_size, trainer.config.num_reference_states)
        return trainer.get_state(), sizes, learner._sampler._rows.tolist(), draws

    config = make_config("critic_distill").learners(num_learners=2).dataset(name=str(dataset_folder / _NAME))
    algorithm = config.build_algo()
    assert algorithm.train()["loop"]["updates"] == 4
    algorithm.save_to_path(str(tmp_path))
    for num_updates in (4, 8):
        answers = [answer.get() for answer in algorithm.learner_group.foreach_learner(report)]
        (first, sizes, rows, draws), (second, other_sizes, other_rows, other_draws) = answers
        assert sizes == other_sizes == (8, 4)
        assert sorted(rows + other_rows) == list(range(len(load_dataset(_NAME))))
        for networks in ("online", "ema"):
            for name, tensor in first[networks].items():
                np.testing.assert_array_equal(tensor.numpy(), second[networks][name].numpy())
        assert first["num_updates"] == second["num_updates"] == num_updates
        assert not torch.equal(first["generator"], second["generator"])
        assert draws != other_draws
        algorithm.restore_from_path(str(tmp_path))
        assert algorithm.train()["loop"]["updates"] == 8
    assert_equal(algorithm.get_module().get_state(), learner_weights(algorithm))
    algorithm.stop()


@pytest.mark.slow
def test_tune_runs_a_grid(ray_cluster, tmp_path, dataset_folder):
    """By name, over a grid in one of our sections, with checkpoints."""
    config = make_config("consistency_ac").dataset(name=str(dataset_folder / _NAME))
    tuner = tune.Tuner(
        "ConsistencyAC",
        param_space=config.learning(q_weight=tune.grid_search([0.1, 1.0])),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            stop={"training_iteration": 2},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
            verbose=0,
        ),
    )
    results = tuner.fit()
    assert not results.errors
    assert {r.config["learning_options"]["q_weight"] for r in results} == {0.1, 1.0}
    assert all(r.metrics["loop"]["updates"] == 8 and r.checkpoint is not None for r in results)


def test_an_environment_of_other_sizes_is_one_clear_error(ray_cluster):
    """It is told what the dataset has, before a learner is built."""
    config = make_config("gaussian_bc").environment("Pendulum-v1")
    with pytest.raises(
        ValueError, match=r"`dataset observations` must have shape \[any, 3\], got \[\d+, 4\]"
    ):
        config.build_algo()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.dataset(name="pendulun"), "did you mean 'pendulum'"),
        (lambda config: config.learning(q_wait=1.0), "did you mean 'q_weight'"),
        (
            lambda config: config.learning(batch_size=0),
            "`batch_size` must be .* at least 1, got 0",
        ),
        (lambda config: config.training(lr=3e-4), "set learning\\(learning_rate=...\\)"),
    ],
)
def test_a_mistake_is_one_clear_error(ray_cluster, change, message):
    """Before anything is built."""
    with pytest.raises(ValueError, match=message):
        change(make_config("consistency_ac")).build_algo()


def _sections(max_updates, method="consistency_ac", **run):
    candidates = {"num_action_candidates": 3} if method in ("consistency_ac", "diffusion_ql") else {}
    return {
        "environment": {"env": _ENV, "env_config": {"action_repeat": 2}},
        "dataset": {"name": _NAME},
        "learning": {**_SMALL, **candidates},
        "learners": {"num_learners": 0},
        "reporting": {"min_time_s_per_iteration": 0},
        "debugging": {"seed": 0},
        "run": {
            "algorithm": method,
            "max_updates": max_updates,
            "num_evaluation_episodes": 2,
            "num_progress_episodes": 1,
            "checkpoint_interval_sec": 1e-6,
            **run,
        },
    }


def _train(sections, folder, resume=False):
    output = io.StringIO()
    outcome = run_training(sections, folder, resume=resume, console=Console(file=output, width=200))
    return outcome, output.getvalue()


@pytest.fixture(scope="module")
def finished(ray_cluster, dataset_folder, tmp_path_factory):
    """A run of 12 updates from a YAML file; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "pendulum.yaml"
    path.write_text(dump_sections(_sections(12)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_RL_DATASETS", str(dataset_folder))
        sections, _ = resolve_sections(TrainArguments(str(path), out=folder / "run"))
        outcome, output = _train(sections, folder / "run")
    return RunFolder(folder / "run"), outcome, output


def test_a_run_leaves_everything_behind(finished):
    """Configuration, metrics of every iteration, checkpoints, figures, report and summary."""
    run, outcome, output = finished
    stored = read_sections(run.config_path)
    assert stored["run"]["max_updates"] == 12 and stored["run"]["algorithm"] == "consistency_ac"
    rows = read_metrics(run.metrics_path)
    assert [row["updates"] for row in rows] == [4, 8, 12]
    losses = {"learner/behaviour_loss", "learner/q_loss", "learner/critic_loss"}
    assert losses | {"epochs", "elapsed_sec", "evaluation/student_return"} <= rows[-1].keys()
    assert find_problems(CheckpointStore(run.checkpoints_folder).latest()) == []
    drawn = {path.stem for path in run.plots_folder.glob("*.png")}
    assert drawn == {"return_time", "return_updates", "throughput", "losses"}
    assert run.report_path.stat().st_size > 10_000
    assert json.loads(run.summary_path.read_text()) == outcome.summary
    assert f"dataset: {_NAME}, " in output and "evaluating 2 episodes of the policy" in output


def test_summary_tells_the_models_that_were_chosen(finished):
    """By the largest return, and by the smallest loss of cloning; scores on the scale of the reference."""
    run, outcome, _ = finished
    rows, summary = read_metrics(run.metrics_path), outcome.summary
    assert (summary["dataset"], summary["updates"], summary["seed"]) == (_NAME, 12, 0)
    assert summary["search_return"] is None and summary["student_search_ratio"] is None
    assert all(math.isfinite(summary[name]) for name in ("untrained_return", "student_return"))
    assert summary["online_selected_return"] == max(row["evaluation/student_return"] for row in rows)
    least = min(rows, key=lambda row: row["learner/behaviour_loss"])
    assert summary["offline_selected_return"] == least["evaluation/student_return"]
    for name, value in (
        ("score", summary["student_return"]),
        ("online_selected_score", summary["online_selected_return"]),
        ("offline_selected_score", summary["offline_selected_return"]),
    ):
        assert summary[name] == normalized_score(value, REFERENCE_SCORES[_REFERENCE])
    assert summary["acting"] == {"num_steps": 2, "noise_scale": 1.0, "num_candidates": 3}
    assert (summary["env"], summary["action_repeat"]) == (_ENV, 2)


def test_the_policy_of_a_run_acts_as_it_was_trained_to(finished):
    """Saved with its critic and how it acts: several candidates, of which the critic chooses."""
    run, _, _ = finished
    networks = load_networks(CheckpointStore(run.checkpoints_folder).latest())
    policy, observation = load_policy(run.path), np.random.default_rng(0).normal(size=(20, 4))
    expected = act_by_value(
        networks.policy,
        networks.critic,
        torch.from_numpy(observation).float(),
        3,
        2,
        1.0,
        torch.Generator().manual_seed(5),
    )
    np.testing.assert_array_equal(policy.act(observation, seed=5), expected.numpy())
    assert policy.metadata["env"] == _ENV


def test_evaluating_a_run_acts_as_saved_unless_told_otherwise(finished):
    """The final evaluation of the run comes out again; other settings are another policy."""
    run, outcome, _ = finished
    judged = evaluate_path(run.path, 2)["student"]
    assert judged.mean_return == outcome.summary["student_return"]
    acting = StudentSettings(num_steps=2, noise_scale=1.0, num_candidates=3)
    np.testing.assert_array_equal(
        evaluate_path(run.path, 2, settings=acting)["student"].returns, judged.returns
    )
    quiet = StudentSettings(num_steps=1, noise_scale=0.0, num_candidates=1)
    evaluated = [evaluate_path(run.path, 2, settings=quiet)["student"].returns for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)
    with pytest.raises(ValueError, match="must be a run that searches to judge its search"):
        evaluate_path(run.path, 1, with_search=True)


def test_the_command_evaluates_such_a_run(finished):
    """One line for the policy; the search is refused in one line."""
    run, outcome, _ = finished
    result = CliRunner().invoke(app, ["evaluate", str(run.path), "--episodes", "2"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"student return {outcome.summary['student_return']:.1f} +- ")
    refused = CliRunner().invoke(app, ["evaluate", str(run.path), "--episodes", "1", "--search"])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: ") and "must be a run that searches" in refused.stderr


def test_a_resumed_run_ends_as_one_that_was_not_stopped(finished, tmp_path):
    """Updates, rows and draws go on from the checkpoint: the weights are those of the run in one piece."""
    whole, whole_outcome, _ = finished
    first, _ = _train(_sections(8, num_progress_episodes=0), tmp_path)
    second, output = _train(_sections(12), tmp_path, resume=True)
    assert "resumed from checkpoint_00000002: 8 updates, 0 environment steps" in output
    rows = read_metrics(RunFolder(tmp_path).metrics_path)
    assert [row["updates"] for row in rows] == [4, 8, 12]
    assert second.summary["wall_seconds"] > first.summary["wall_seconds"]
    assert second.summary["untrained_return"] == first.summary["untrained_return"]
    states = []
    for run in (RunFolder(tmp_path), whole):
        networks = load_networks(CheckpointStore(run.checkpoints_folder).latest())
        states.append({name: tensor.numpy() for name, tensor in networks.state_dict().items()})
    assert_equal(*states)
    assert second.summary["student_return"] == whole_outcome.summary["student_return"]


def test_a_run_without_an_environment_has_no_returns(ray_cluster, tmp_path):
    """It trains, saves and reports all the same."""
    sections = _sections(8, "diffusion_bc")
    del sections["environment"]
    outcome, _ = _train(sections, tmp_path / "run")
    summary = outcome.summary
    assert summary["updates"] == 8 and summary["env"] is None
    names = (
        "student_return",
        "untrained_return",
        "online_selected_return",
        "offline_selected_score",
        "score",
    )
    assert all(summary[name] is None for name in names)
    policy = load_policy(tmp_path / "run")
    assert policy.critic is None and policy.act(np.zeros(4)).shape == (1,)
    with pytest.raises(ValueError, match="must name its environment"):
        evaluate_path(tmp_path / "run", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": {"name": "pendulun"}}, "did you mean 'pendulum'"),
        ({"dataset": {}}, "`dataset.name` must be set"),
        ({"environment": {"env": "Pendulum-v1"}}, r"`dataset observations` must have shape \[any, 3\]"),
        ({"search": {}}, "section 'search' must be of a training that searches"),
        ({"run": {"algorithm": "consistency_bcc"}}, "did you mean 'consistency_bc'"),
    ],
)
def test_a_mistake_is_told_before_the_folder_is_touched(ray_cluster, tmp_path, change, message):
    """Names, the dataset, and the sizes of the environment."""
    with pytest.raises(ValueError, match=message):
        _train(_sections(8) | change, tmp_path / "run")
    assert not (tmp_path / "run").exists()
