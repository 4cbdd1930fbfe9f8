"""The three stages on a tiny dataset of the pendulum: the algorithm, and whole runs of the driver."""

import io
import math
import shutil

import numpy as np
import pytest
import torch
from ray import tune
from ray.rllib.core import DEFAULT_MODULE_ID
from rich.console import Console
from typer.testing import CliRunner

from distill_rl.algorithms.ractd_config import RACTDConfig
from distill_rl.cli.main import app
from distill_rl.cli.training import run_training
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import save_dataset
from distill_rl.policies.chunk import ChunkConsistencyPolicy, ChunkDiffusionPolicy
from distill_rl.policies.loading import load_policy
from distill_rl.storage.metrics import read_metrics
from distill_rl.storage.run_folder import RunFolder

pytestmark = pytest.mark.ray

_ENV, _NAME, _NUM_STEPS = "InvertedPendulum-v5", "pendulum", 60
_LEARNING = {
    "num_steps": 2,
    "level_sizes": [8],
    "kernel_size": 1,
    "embedding_size": 8,
    "reward_hidden_sizes": [8],
    "num_levels": 4,
    "batch_size": 8,
}
_STAGES = {"teacher_updates": 3, "reward_updates": 2, "student_updates": 4, "updates_per_iteration": 2}
_ACTING = {"num_teacher_steps": 2, "exec_horizon": 2}


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory):
    """A folder of datasets that holds one, of random numbers in the sizes of the pendulum."""
    generator = np.random.default_rng(0)
    dataset = OfflineDataset(
        observations=generator.normal(size=(_NUM_STEPS, 4)).astype(np.float32),
        actions=generator.uniform(-1, 1, (_NUM_STEPS, 1)).astype(np.float32),
        rewards=generator.normal(size=_NUM_STEPS).astype(np.float32),
        next_observations=generator.normal(size=(_NUM_STEPS, 4)).astype(np.float32),
        terminals=np.zeros(_NUM_STEPS, bool),
        is_transition=np.ones(_NUM_STEPS, bool),
        episode_ends=np.array([20, 40, 60]),
        metadata={"name": _NAME, "source": "here"},
    )
    folder = tmp_path_factory.mktemp("datasets")
    save_dataset(dataset, folder / _NAME)
    return folder


@pytest.fixture(autouse=True)
def _datasets(dataset_folder, monkeypatch):
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(dataset_folder))


def make_config(**stages):
    return (
        RACTDConfig()
        .environment(_ENV)
        .dataset(name=_NAME)
        .learning(**_LEARNING)
        .stages(**{**_STAGES, **stages})
        .acting(num_teacher_steps=2)
        .learners(num_learners=0)
        .env_runners(num_envs_per_env_runner=2)
        .evaluation(evaluation_interval=100, evaluation_duration=2)
        .debugging(seed=0)
    )


def weights_of(algorithm):
    weights = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
    return {name: np.array(array) for name, array in weights.items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_stages_are_one_algorithm(ray_cluster, tmp_path):
    """It says where it is and when it is over, evaluates, and goes on from a checkpoint bit by bit."""
    algorithm = make_config().build_algo()
    assert algorithm.description.endswith("stages: teacher 3 updates, reward 2 updates, student 4 updates")
    results = []
    for iteration in range(5):
        if iteration == 2:
            algorithm.save_to_path(str(tmp_path))
        results.append(algorithm.train())
        if iteration in (0, 3):  # the teacher acts, then the student
            evaluation = algorithm.evaluate()["env_runners"]
            assert math.isfinite(evaluation["episode_return_mean"])
    assert [result["loop"]["stage"] for result in results] == [
        "teacher",
        "reward",
        "student",
        "student",
        None,
    ]
    assert [result["done"] for result in results] == [False] * 4 + [True]
    assert [result["loop"]["updates"] for result in results] == [2, 4, 6, 8, 9]
    losses = results[-1]["learners"][DEFAULT_MODULE_ID]
    for name in ("trajectory", "denoising", "return"):
        assert math.isfinite(losses[f"student_{name}_loss"])
    assert "teacher_denoising_loss" in results[0]["learners"][DEFAULT_MODULE_ID]
    assert not any(name.startswith(("teacher_", "reward_")) for name in losses)
    finished = weights_of(algorithm)
    algorithm.restore_from_path(str(tmp_path))
    restored = type(algorithm).from_checkpoint(str(tmp_path))
    for each in (algorithm, restored):
        for _ in range(3):
            result = each.train()
        assert result["done"]
        assert_equal(weights_of(each), finished)
        each.stop()


@pytest.mark.slow
def test_two_learners_hold_the_same_weights_in_every_stage(ray_cluster, dataset_folder):
    """Each draws its share with noise of its own; also the student starts alike."""

    def report(learner):
        trainer = learner.trainer
        draws = None if trainer._trainer is None else trainer._trainer.get_state()["generator"]
        return trainer.ema.state_dict(), trainer.config.batch_size, draws

    config = make_config().learners(num_learners=2).dataset(name=str(dataset_folder / _NAME))
    algorithm = config.build_algo()
    for _ in range(4):
        algorithm.train()
        (first, size, draws), (second, other_size, other_draws) = (
            answer.get() for answer in algorithm.learner_group.foreach_learner(report)
        )
        assert size == other_size == 4
        for name, tensor in first.items():
            np.testing.assert_array_equal(tensor.numpy(), second[name].numpy())
        assert not torch.equal(draws, other_draws)
    algorithm.stop()


@pytest.mark.slow
def test_tune_stops_when_the_stages_are_over(ray_cluster, tmp_path, dataset_folder):
    """By name, over a grid in one of our sections."""
    config = make_config().dataset(name=str(dataset_folder / _NAME))
    tuner = tune.Tuner(
        "RACTD",
        param_space=config.learning(reward_weight=tune.grid_search([0.0, 1.0])),
        run_config=tune.RunConfig(storage_path=str(tmp_path), stop={"training_iteration": 50}, verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    assert all(r.metrics["loop"]["updates"] == 9 for r in results)


def _sections(stages=(), **learning):
    return {
        "environment": {"env": _ENV},
        "dataset": {"name": _NAME},
        "learning": {**_LEARNING, **learning},
        "stages": {**_STAGES, **dict(stages)},
        "acting": _ACTING,
        "learners": {"num_learners": 0},
        "reporting": {"min_time_s_per_iteration": 0},
        "debugging": {"seed": 0},
        "run": {
            "algorithm": "ractd",
            "num_evaluation_episodes": 2,
            "num_progress_episodes": 1,
            "checkpoint_interval_sec": 1e-6,
        },
    }


def _train(sections, folder, resume=False):
    output = io.StringIO()
    outcome = run_training(sections, folder, resume=resume, console=Console(file=output, width=200))
    return outcome, output.getvalue()


@pytest.fixture(scope="module")
def finished(ray_cluster, dataset_folder, tmp_path_factory):
    """A run of all three stages; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_RL_DATASETS", str(dataset_folder))
        outcome, output = _train(_sections(), folder)
    return RunFolder(folder), outcome, output


def test_a_run_ends_with_its_stages_and_leaves_both_policies(finished):
    """The student is evaluated along the way, the teacher is not; both are there to act."""
    run, outcome, output = finished
    assert "stages: teacher 3 updates" in output and "evaluating 2 episodes of the policy" in output
    rows = read_metrics(run.metrics_path)
    assert [row["updates"] for row in rows] == [2, 4, 6, 8, 9]
    judged = [row.get("evaluation/student_return") is not None for row in rows]
    assert judged == [False, False, True, True, True]
    assert outcome.summary["updates"] == 9 and outcome.summary["student_return"] > 0.0
    student, teacher = load_policy(run.path), load_policy(run.path, "teacher")
    assert isinstance(student.policy, ChunkConsistencyPolicy)
    assert isinstance(teacher.policy, ChunkDiffusionPolicy)
    assert student.metadata["acting"] == {"num_steps": 1, "noise_scale": 1.0, "exec_horizon": 2}
    assert teacher.metadata["acting"]["num_steps"] == 2 and teacher.metadata["acting"]["sampler"] == "heun"
    assert student.act_chunk(np.zeros((3, 4))).shape == (3, 2, 1)


def test_the_command_line_judges_student_and_teacher(finished):
    """With other ways of acting; what has no meaning is one clear error."""
    run, _, _ = finished
    runner = CliRunner()

    def evaluate(*options):
        return runner.invoke(app, ["evaluate", str(run.path), "--episodes", "2", *options])

    assert evaluate("--num-steps", "3", "--exec-horizon", "1").stdout.startswith("student return ")
    judged = evaluate("--teacher", "--sampler", "ddim", "--num-steps", "3")
    assert judged.exit_code == 0 and judged.stdout.startswith("teacher return ")
    for options, message in (
        (("--num-candidates", "2"), "`num_candidates` has no meaning for a policy over chunks"),
        (("--sampler", "ddim"), "`sampler` must be None for a student"),
        (("--exec-horizon", "3"), "`exec_horizon` must be at most 2"),
    ):
        failed = evaluate(*options)
        assert failed.exit_code != 0 and message in failed.output


def test_a_run_goes_on_in_the_stage_it_was_stopped_in(finished, ray_cluster, tmp_path):
    """Stopped in the reward model's, resumed to the end: the weights of a run that was not."""
    run, _, _ = finished
    sections = _sections()
    sections["run"]["max_updates"] = 4
    _train(sections, tmp_path / "run")
    with pytest.raises(ValueError, match="must hold a policy"):
        load_policy(tmp_path / "run")
    assert load_policy(tmp_path / "run", "teacher").policy.horizon == 2
    outcome, output = _train(_sections(), tmp_path / "run", resume=True)
    assert "resumed from checkpoint_00000002: 4 updates" in output
    assert outcome.summary["updates"] == 9
    for name in ("policy", "teacher"):
        one, other = (load_policy(path, name).policy.state_dict() for path in (run.path, tmp_path / "run"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_stages_run_alone_and_serve_several_students(finished, ray_cluster, tmp_path):
    """Teacher, reward model, then a student from the two; the teacher acts in its own run."""
    _train(_sections({"stages": ["teacher"]}), tmp_path / "teacher")
    assert isinstance(load_policy(tmp_path / "teacher").policy, ChunkDiffusionPolicy)
    outcome, _ = _train(_sections({"stages": ["reward"]}), tmp_path / "reward")
    assert outcome.summary["student_return"] is None and outcome.summary["updates"] == 2
    left = {
        "stages": ["student"],
        "teacher_checkpoint": str(tmp_path / "teacher"),
        "reward_checkpoint": str(tmp_path / "reward"),
    }
    outcome, _ = _train(_sections(left), tmp_path / "student")
    assert outcome.summary["updates"] == 4 and outcome.summary["untrained_return"] is not None
    taught, teacher = (load_policy(tmp_path / name, "teacher").policy for name in ("student", "teacher"))
    one, other = taught.state_dict(), teacher.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    # What is not there, and what is of other sizes, is told before anything is written.
    for change, learning, message in (
        ({"teacher_checkpoint": str(tmp_path / "nowhere")}, {}, "must hold the checkpoint of an algorithm"),
        ({"teacher_checkpoint": str(tmp_path / "reward")}, {}, "must hold a teacher to go on from"),
        ({}, {"level_sizes": [16]}, "must hold a teacher of the sizes configured"),
    ):
        with pytest.raises(ValueError, match=message):
            _train(_sections({**left, **change}, **learning), tmp_path / "failed")
        assert not (tmp_path / "failed").exists()


def test_a_student_goes_on_without_the_run_that_it_came_from(finished, ray_cluster, tmp_path):
    """Its own checkpoints hold teacher and reward model: the weights of a student that was not stopped."""
    run, _, _ = finished
    origin = shutil.copytree(run.path, tmp_path / "origin")
    left = {"stages": ["student"], "teacher_checkpoint": str(origin), "reward_checkpoint": str(origin)}
    _train(_sections(left), tmp_path / "whole")
    sections = _sections(left)
    sections["run"]["max_updates"] = 2
    _train(sections, tmp_path / "stopped")
    shutil.rmtree(origin)
    outcome, output = _train(_sections(left), tmp_path / "stopped", resume=True)
    assert "resumed from checkpoint_00000001: 2 updates" in output and outcome.summary["updates"] == 4
    for name in ("policy", "teacher"):
        one, other = (load_policy(tmp_path / of, name).policy.state_dict() for of in ("whole", "stopped"))
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.learning(reward_wait=1.0), "did you mean 'reward_weight'"),
        (lambda config: config.acting(exec_horizon=3), "`acting.exec_horizon` must be at most learning"),
        (lambda config: config.acting(exec_horizon=2), "`evaluation_interval` must be None with acting.exec"),
        (lambda config: config.stages(stages=("student",)), "`teacher_checkpoint` be set"),
        (
            lambda config: config.dataset(reward_transform="antmaze"),
            "`dataset.reward_transform` must be none",
        ),
        (lambda config: config.training(lr=3e-4), "set learning\\(learning_rate=...\\)"),
    ],
)
def test_a_mistake_is_one_clear_error(ray_cluster, change, message):
    """Before anything is built."""
    with pytest.raises(ValueError, match=message):
        change(make_config()).build_algo()
