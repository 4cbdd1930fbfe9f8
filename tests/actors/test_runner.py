import numpy as np
import pytest

from actors.runner import SearchEnvRunner
from distill_rl.algorithms import DistillConfig
from distill_rl.types import ReferenceSet


def _config(**search):
    return (
        DistillConfig()
        .environment("dm_control/pendulum-swingup-v0", env_config={"action_repeat": 4})
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=3)
        .search(num_candidates=4, num_perturbed=2, ascent_steps=[0.5], horizon_steps=2, **search)
        .distillation(hidden_sizes=(16,))
        .debugging(seed=3)
    )


def _runner(config=None):
    config = config or _config()
    return SearchEnvRunner(config=config, worker_index=0, num_workers=0)


def test_collect_returns_labels_of_every_step():
    """A fragment holds one reference set for each step of each environment, all of one version."""
    runner = _runner()
    runner.set_weights_of(7, runner.module.get_state())
    header, reference_set = runner.collect(sequence=5)
    reference_set.validate()
    assert (header.sequence, header.policy_version, header.num_env_steps) == (5, 7, 12)
    assert header.num_sets == len(reference_set) == 12
    assert reference_set.policy_version == 7
    assert header.num_simulator_steps > 0
    assert header.statistics["kl"] >= 0
    runner.stop()


def test_collect_repeats_itself_for_a_seed_and_first_request():
    """The same seed gives the same fragment; a runner restarted at a later request gives another."""
    fragments = []
    for sequence in (0, 0, 9):
        runner = _runner()
        torch_state = {name: np.full_like(a, 0.01) for name, a in runner.module.get_state().items()}
        runner.set_weights_of(1, torch_state)
        fragments.append(runner.collect(sequence)[1])
        runner.stop()
    np.testing.assert_array_equal(fragments[0].actions, fragments[1].actions)
    assert not np.array_equal(fragments[0].observation, fragments[2].observation)


def test_sample_searches_in_training_and_plays_episodes_in_evaluation():
    """Without arguments a training runner searches; otherwise it returns RLlib's episodes."""
    runner = _runner()
    assert isinstance(runner.sample(), ReferenceSet)
    assert sum(len(e) for e in runner.sample(num_timesteps=5, explore=False)) >= 5
    runner.stop()
    config = _config().copy(copy_frozen=False)
    config.in_evaluation = True
    runner = _runner(config)
    assert runner.num_envs == 4
    assert sum(len(e) for e in runner.sample(num_timesteps=5, explore=False)) >= 5
    runner.stop()


def test_exploiting_module_acts_without_noise():
    """Evaluation acts by the zero-noise action of the broadcast weights."""
    import torch
    from ray.rllib.core.columns import Columns

    runner = _runner()
    observation = torch.randn(6, 3)
    actions = runner.module.forward_inference({Columns.OBS: observation})[Columns.ACTIONS]
    torch.testing.assert_close(actions, runner.module.networks.policy.act(observation, 1, 0.0))
    noisy = runner.module.forward_exploration({Columns.OBS: observation})[Columns.ACTIONS]
    assert not torch.equal(actions, noisy)
    runner.stop()


def test_set_state_applies_older_weights():
    """Weights of an older version replace newer ones, as a restore needs."""
    runner = _runner()
    old = {name: np.copy(array) for name, array in runner.module.get_state().items()}
    runner.set_weights_of(50, {name: array + 1.0 for name, array in old.items()})
    runner.set_state({"rl_module": old, "weights_seq_no": 20})
    name = next(n for n in old if n.endswith("weight"))
    np.testing.assert_array_equal(runner.module.get_state()[name], old[name])
    runner.stop()


def test_evaluate_search_returns_one_return_for_each_episode():
    """The search policy is measured over whole episodes."""
    config = _config()
    config.environment(env_config={"action_repeat": 100})
    runner = _runner(config)
    returns = runner.evaluate_search(2)
    assert len(returns) == 2 and np.isfinite(returns).all()
    runner.stop()


@pytest.mark.parametrize("env", ["dm_control/pendulum-swing-v0", "CartPole-v1"])
def test_runner_refuses_what_it_cannot_act_in(env):
    """Unknown environments and discrete actions are errors that say so."""
    with pytest.raises(ValueError, match="env"):
        _runner(_config().environment(env, env_config={}))
