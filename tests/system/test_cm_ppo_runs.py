"""PPO with a consistency policy: runs, checkpoints, remote learners, Tune, and the command line."""

import io

import numpy as np
import pytest
import torch
from ray import tune
from rich.console import Console

from distill_rl import CMPPO, CMPPOConfig, load_policy
from distill_rl.cli.arguments import TrainArguments, resolve_sections
from distill_rl.cli.sections import build_config
from distill_rl.cli.training import run_training
from distill_rl.storage.metrics import read_metrics

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

_SMALL = (
    "training.train_batch_size_per_learner=64",
    "training.minibatch_size=32",
    "training.num_epochs=2",
    "env_runners.num_envs_per_env_runner=2",
    "consistency.hidden_sizes=[8]",
    "run.num_evaluation_episodes=1",
    "run.num_progress_episodes=1",
)


def make_config(num_env_runners=0, num_learners=0, **consistency):
    """Returns iterations of 64 steps and four updates."""
    return (
        CMPPOConfig()
        .environment("InvertedPendulum-v5")
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=2)
        .learners(num_learners=num_learners)
        .training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=2)
        .consistency(hidden_sizes=(8,), **consistency)
        .debugging(seed=0)
    )


def weights(networks):
    """Returns a copy of the weights."""
    return {name: value.clone() for name, value in networks.state_dict().items()}


@pytest.mark.parametrize("likelihood", ["gaussian_steps", "exact", "loss_difference"])
def test_trains_and_reports(likelihood):
    """Weights move, runners have those of the learner, and statistics are reported."""
    algorithm = make_config(likelihood=likelihood, num_ode_steps=2).build_algo()
    before = weights(algorithm.get_module().networks)
    result = algorithm.train()
    learner = result["learners"]["default_policy"]
    for name in ("ratio_mean", "kl", "effective_sample_size", "policy_gradient_norm", "consistency_loss"):
        assert np.isfinite(learner[name])
    assert result["loop"]["env_steps"] >= 64 and result["loop"]["updates"] >= 4
    after, learned = weights(algorithm.get_module().networks), algorithm.learner_group._learner.module
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, value in weights(learned["default_policy"].networks).items():
        assert torch.equal(value, after[name])
    algorithm.stop()


def test_same_seed_gives_the_same_run():
    """In one process everything is drawn from the seed."""
    runs = []
    for _ in range(2):
        algorithm = make_config().build_algo()
        algorithm.train()
        algorithm.train()
        runs.append(weights(algorithm.get_module().networks))
        algorithm.stop()
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_restores_an_older_checkpoint_everywhere(tmp_path):
    """Runners get the old weights back too, and counters go on from there."""
    algorithm = make_config().build_algo()
    algorithm.train()
    algorithm.save_to_path(str(tmp_path))
    saved = weights(algorithm.get_module().networks)
    steps = algorithm.train()["loop"]["env_steps"]
    algorithm.restore_from_path(str(tmp_path))
    assert all(
        torch.equal(value, saved[name]) for name, value in weights(algorithm.get_module().networks).items()
    )
    assert algorithm.train()["loop"]["env_steps"] == pytest.approx(steps, abs=20)
    algorithm.stop()
    again = CMPPO.from_checkpoint(str(tmp_path))
    assert all(
        torch.equal(value, saved[name]) for name, value in weights(again.get_module().networks).items()
    )
    again.stop()


@pytest.mark.slow
def test_learners_stay_alike():
    """Two learners and a remote runner: the same weights, scales and normalisers in both."""
    algorithm = make_config(num_env_runners=1, num_learners=2).build_algo()
    algorithm.train()
    algorithm.train()

    def state(learner):
        networks = learner.module["default_policy"].unwrapped().networks
        return {name: value.numpy().copy() for name, value in networks.state_dict().items()}

    first, second = (result.get() for result in algorithm.learner_group.foreach_learner(state))
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-6, atol=1e-7, err_msg=name)
    algorithm.stop()


@pytest.mark.slow
def test_tune_finds_the_class_by_its_name_and_searches_the_section(tmp_path):
    """A grid over the weights of the advantage."""
    config = make_config().consistency(weights=tune.grid_search(["clamp", "exponential"]))
    results = tune.Tuner(
        "CMPPO",
        param_space=config,
        run_config=tune.RunConfig(
            stop={"training_iteration": 1},
            storage_path=str(tmp_path),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    ).fit()
    assert len(results) == 2 and not results.errors
    assert all(result.checkpoint is not None for result in results)


def test_command_line_trains_resumes_and_saves_a_policy(tmp_path):
    """The preset, a resume, and the one-step policy that is left behind."""
    folder, console = tmp_path / "run", Console(file=io.StringIO(), width=200)
    arguments = TrainArguments("inverted_pendulum_ppo", (*_SMALL, "run.max_env_steps=100"), folder)
    summary = run_training(resolve_sections(arguments)[0], folder, console=console).summary
    assert summary["env_steps"] >= 100 and summary["student_return"] > 0.0
    arguments = TrainArguments(None, ("run.max_env_steps=200",), folder, resume=True)
    sections, _ = resolve_sections(arguments)
    assert run_training(sections, folder, resume=True, console=console).summary["env_steps"] >= 200
    assert load_policy(folder).act(np.zeros((3, 4), np.float32)).shape == (3, 1)
    assert (folder / "plots" / "policy_updates.png").is_file()


def test_run_with_a_step_size_that_breaks_everything_says_so(tmp_path):
    """Each iteration's first step breaks the weights: they come back, an alarm is on, the policy acts."""
    folder, console = tmp_path / "run", Console(file=io.StringIO(), width=200)
    broken = ("training.lr=1e20", "training.grad_clip=null", "run.max_env_steps=200")
    sections, _ = resolve_sections(TrainArguments("inverted_pendulum_ppo", (*_SMALL, *broken), folder))
    summary = run_training(sections, folder, console=console).summary
    assert summary["skipped_updates"] > 0 and "rollbacks rose from" in console.file.getvalue()
    last = read_metrics(folder / "metrics.jsonl")[-1]
    assert last["skipped_updates"] == summary["skipped_updates"] and last["rollbacks"] > 0
    assert last["alarm/non_finite"] == 1
    assert np.isfinite(load_policy(folder).act(np.zeros((3, 4), np.float32))).all()


def test_mistyped_setting_of_ppo_names_the_nearest():
    """Sections of RLlib's PPO are checked by its own signature."""
    sections, _ = resolve_sections(TrainArguments("inverted_pendulum_ppo", ("training.clip_parm=0.1",)))
    with pytest.raises(ValueError, match=r"`training` has no option 'clip_parm' .did you mean 'clip_param'"):
        build_config(sections)
