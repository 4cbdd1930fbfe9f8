"""Actor-critic methods on the loop: from nothing, and from what was learned from a dataset."""

import io
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console

from distill_rl.algorithms.initial_checkpoint import read_trainer_state
from distill_rl.algorithms.offline_config import ConsistencyACConfig
from distill_rl.algorithms.online_config import ONLINE_METHODS, OnlineConfig, OnlineConsistencyACConfig
from distill_rl.cli.arguments import TrainArguments, resolve_sections
from distill_rl.cli.evaluation import evaluate_path
from distill_rl.cli.sections import build_config
from distill_rl.cli.training import run_training
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import save_dataset

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

_ENV = "InvertedPendulum-v5"
_SMALL = {"hidden_sizes": [8], "batch_size": 16, "num_references": 4, "num_reference_states": 8}


def make_online(config_type=OnlineConsistencyACConfig, num_env_runners=0, num_learners=0, **learning):
    """Returns a loop of fragments of 16 steps, one update for every four."""
    return (
        config_type()
        .environment(_ENV)
        .env_runners(num_env_runners=num_env_runners, num_envs_per_env_runner=2, rollout_fragment_length=8)
        .learners(num_learners=num_learners)
        .search(num_candidates=3)
        .learning(**_SMALL | learning)
        .loop(learning_starts=32, updates_per_step=0.25, updates_per_call=4, request_timeout_sec=120.0)
        .reporting(min_sample_timesteps_per_iteration=64)
        .evaluation(evaluation_duration=2, evaluation_config={"explore": False, "num_envs_per_env_runner": 2})
        .debugging(seed=0)
    )


@pytest.fixture(scope="module")
def offline_checkpoint(tmp_path_factory):
    """A checkpoint of Consistency-AC after a few updates on a dataset of noise."""
    folder, generator = tmp_path_factory.mktemp("offline"), np.random.default_rng(0)
    observations = generator.normal(size=(65, 4)).astype(np.float32)
    dataset = OfflineDataset(
        observations=observations[:-1],
        actions=generator.uniform(-1, 1, (64, 1)).astype(np.float32),
        rewards=generator.normal(size=64).astype(np.float32),
        next_observations=observations[1:],
        terminals=np.zeros(64, bool),
        is_transition=np.ones(64, bool),
        episode_ends=np.array([64]),
        metadata={"name": "noise", "source": "here"},
    )
    save_dataset(dataset, folder / "noise")
    config = ConsistencyACConfig().dataset(name=str(folder / "noise"))
    config = config.learning(**_SMALL, updates_per_iteration=7).debugging(seed=1)
    algorithm = config.build_algo()
    algorithm.train()
    algorithm.save_to_path(str(folder / "checkpoint"))
    algorithm.stop()
    return folder / "checkpoint"


def policy_weights(algorithm):
    """Returns the averaged policy that the actors have."""
    return {name: value.clone() for name, value in algorithm.env_runner.module.networks.state_dict().items()}


@pytest.mark.parametrize("method", ONLINE_METHODS)
def test_learns_from_its_own_steps(method):
    """Weights move, losses and returns are reported, and the student and the search are judged."""
    algorithm = make_online(ONLINE_METHODS[method]).build_algo()
    before = policy_weights(algorithm)
    result = algorithm.train()
    learned = result["learners"]["default_policy"]
    assert np.isfinite(learned["critic_loss"]) and np.isfinite(learned["behaviour_loss"])
    assert result["loop"]["policy_version"] > 0
    after = policy_weights(algorithm)
    parameters = [name for name in before if name.startswith("policy.") and "normalizer" not in name]
    assert all((before[name] != after[name]).any() for name in parameters if name.endswith("weight"))
    count = after["policy.normalizer.count"]
    assert count > 0 and torch.equal(count, after["critic.normalizer.count"])
    evaluation = algorithm.evaluate()
    assert evaluation["env_runners"]["num_episodes"] >= 2
    assert np.isfinite(algorithm.evaluate_search(2)["episode_return_mean"])
    algorithm.stop()


def test_the_learner_sees_the_steps_that_were_taken():
    """The replay's transitions obey the environment: one reward for each step that does not fall."""
    algorithm = make_online().build_algo()
    algorithm.train()
    replay = algorithm.learner_group._learner.replay
    sampled = replay.sample(256, np.random.default_rng(0))
    steps = sampled.episode_steps
    np.testing.assert_array_equal(sampled.observation, steps.observation[:, 0])
    is_terminal = steps.discount[:, 0] == 0.0
    assert is_terminal.any() and not is_terminal.all()
    fell = np.abs(steps.observation[:, 1, 1]) > 0.2  # the pole's angle, at which an episode ends
    np.testing.assert_array_equal(is_terminal, fell)
    algorithm.stop()


def test_one_process_repeats_itself():
    """The same seed gives the same weights."""
    weights = []
    for _ in range(2):
        algorithm = make_online().build_algo()
        algorithm.train()
        weights.append(policy_weights(algorithm))
        algorithm.stop()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_goes_on_from_a_dataset(offline_checkpoint):
    """Weights, averages and counts are those of the checkpoint, and step sizes those configured."""
    algorithm = make_online(
        initial_checkpoint=str(offline_checkpoint), learning_rate=1e-5, critic_learning_rate=2e-5
    ).build_algo()
    trainer = algorithm.learner_group._learner.trainer
    state = read_trainer_state(offline_checkpoint)
    assert trainer.num_updates == 7 == algorithm.loop_metrics.policy_version
    for name, value in trainer.online.state_dict().items():
        assert torch.equal(value, state["online"][name])
    held = policy_weights(algorithm)
    for name, value in trainer.ema.state_dict().items():
        assert torch.equal(held[name], value)
    assert [group["lr"] for group in trainer._optimizer.param_groups] == [1e-5, 2e-5]
    algorithm.train()
    assert trainer.num_updates > 7
    algorithm.stop()


@pytest.mark.slow
def test_runs_with_remote_actors_and_learners():
    """Two actors, two learners: nothing is lost, and both learners keep the same weights."""
    algorithm = make_online(num_env_runners=2, num_learners=2).build_algo()
    for _ in range(3):
        result = algorithm.train()
    assert result["loop"]["policy_version"] > 0
    sums = [
        answer.get()
        for answer in algorithm.learner_group.foreach_learner(
            lambda learner: float(sum(p.double().sum() for p in learner.trainer.ema.parameters()))
        )
    ]
    assert sums[0] == sums[1]
    algorithm.stop()


def test_a_checkpoint_of_other_networks_is_refused(offline_checkpoint):
    config = make_online(initial_checkpoint=str(offline_checkpoint), hidden_sizes=[9])
    with pytest.raises(ValueError, match="networks of the checkpoint must be those configured"):
        config.build_algo()


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold the checkpoint of an algorithm"):
        make_online(initial_checkpoint=str(tmp_path)).build_algo()


def test_mistakes_are_refused():
    """Each with what to set instead."""
    with pytest.raises(ValueError, match=r"`learning\.improvement` must be gradient or references"):
        OnlineConfig().environment(_ENV).validate()
    with pytest.raises(ValueError, match=r"learning\(discount=...\)"):
        make_online().search(discount=0.9).validate()
    with pytest.raises(ValueError, match="replay_capacity"):
        make_online().learning(replay_capcity=3)
    with pytest.raises(ValueError, match=r"learning\(learning_rate=...\)"):
        make_online().training(lr=1.0).validate()


def test_the_operator_discounts_as_the_learner():
    assert make_online(discount=0.5).operator_config.discount == 0.5


def test_a_run_of_the_driver(tmp_path):
    """Trains, judges policy and search, and goes on from the run folder of another run."""
    arguments = TrainArguments(
        preset="hopper_online",
        overrides=(
            "run.num_evaluation_episodes=1",
            "run.num_progress_episodes=0",
            "run.max_env_steps=64",
            "env_runners.num_env_runners=0",
            "env_runners.num_envs_per_env_runner=2",
            "loop.learning_starts=32",
            "loop.updates_per_step=0.1",
            "reporting.min_time_s_per_iteration=0",
            "learning.hidden_sizes=[8]",
            "learning.batch_size=16",
        ),
    )
    sections, _ = resolve_sections(arguments)
    console = Console(file=io.StringIO())
    first = run_training(sections, tmp_path / "first", console=console).summary
    assert np.isfinite(first["student_return"]) and np.isfinite(first["search_return"])
    assert evaluate_path(tmp_path / "first", 1, with_search=True)["search"].mean_return > 0
    sections["learning"]["initial_checkpoint"] = str(tmp_path / "first")
    with pytest.raises(ValueError, match="must hold the checkpoint of an algorithm"):
        missing = sections["learning"] | {"initial_checkpoint": str(tmp_path / "nowhere")}
        run_training(sections | {"learning": missing}, tmp_path / "third", console=console)
    assert not (tmp_path / "third").exists()
    second = run_training(sections, tmp_path / "second", console=console).summary
    assert second["updates"] == first["updates"] == 3
    assert read_trainer_state(tmp_path / "second")["num_updates"] == 6
    shutil.rmtree(tmp_path / "first")
    resumed = run_training(sections, tmp_path / "second", resume=True, console=console).summary
    assert resumed["updates"] == second["updates"]
    assert read_trainer_state(tmp_path / "second")["num_updates"] == 6


@pytest.mark.parametrize("method", ONLINE_METHODS)
def test_the_presets_build(method):
    """Every robot with every method."""
    for robot in ("hopper", "walker2d", "half_cheetah"):
        arguments = TrainArguments(preset=f"{robot}_online", overrides=(f"run.algorithm={method}",))
        config, _ = build_config(resolve_sections(arguments)[0])
        assert isinstance(config, ONLINE_METHODS[method])
