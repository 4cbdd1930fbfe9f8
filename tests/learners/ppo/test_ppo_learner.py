"""PPO's learner with a consistency policy, without Ray."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from distill_rl.algorithms.cm_ppo_config import CMPPOConfig
from learners.ppo.learner import (
    NUM_ROLLBACKS_LIFETIME,
    NUM_SKIPPED_UPDATES_LIFETIME,
    NUM_UPDATES_LIFETIME,
)

_SPACES = (gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Box(-1, 1, (2,), np.float32))


_NUM_ROWS = 4 * (16 + 1)  # RLlib adds a step to each episode


def _learner(num_epochs=1, minibatch_size=_NUM_ROWS, lr=3e-4, grad_clip=0.5, **options):
    config = (
        CMPPOConfig()
        .environment("Pendulum-v1", observation_space=_SPACES[0], action_space=_SPACES[1])
        .training(lr=lr, grad_clip=grad_clip, num_epochs=num_epochs, minibatch_size=minibatch_size)
        .consistency(hidden_sizes=(16,), **options)
        .debugging(seed=1)
    )
    return config.build_learner(spaces={DEFAULT_MODULE_ID: _SPACES})


def _episodes(learner, reward_fn, num_episodes=4, length=16, seed=0, constant=None):
    """Returns episodes of the learner's own policy, in which states do not depend on actions.

    With a constant, that is the first entry of every observation.
    """
    generator = np.random.default_rng(seed)
    module = learner.module[DEFAULT_MODULE_ID]
    episodes = []
    for _ in range(num_episodes):
        observations = generator.normal(size=(length + 1, 3)).astype(np.float32)
        if constant is not None:
            observations[:, 0] = constant
        with torch.no_grad():
            drawn = module.forward_exploration({"obs": torch.from_numpy(observations[:-1])})
        drawn = {name: tensor.numpy() for name, tensor in drawn.items()}
        actions = drawn.pop("actions")
        episode = SingleAgentEpisode(observation_space=_SPACES[0], action_space=_SPACES[1])
        episode.add_env_reset(observations[0])
        for t in range(length):
            extra = {name: values[t] for name, values in drawn.items()}
            is_end = t == length - 1
            reward = reward_fn(observations[t], actions[t])
            episode.add_env_step(
                observations[t + 1], actions[t], reward, terminated=is_end, extra_model_outputs=extra
            )
        episodes.append(episode)
    return episodes


def _target_reward(observation, action):
    return -float(np.square(action - 0.5).sum())


def _update(learner, episodes, num_env_steps=0):
    results = learner.update(
        episodes=episodes,
        timesteps={"num_env_steps_sampled_lifetime": num_env_steps},
        num_epochs=learner.config.num_epochs,
        minibatch_size=learner.config.minibatch_size,
        shuffle_batch_per_epoch=True,
    )
    return {name: stats.peek() for name, stats in results[DEFAULT_MODULE_ID].items()}


@pytest.mark.parametrize("likelihood", ["gaussian_steps", "exact", "loss_difference"])
def test_first_ratios_are_one(likelihood):
    """Old likelihoods are those of the weights that acted: before any step all ratios are one."""
    learner = _learner(likelihood=likelihood, num_ode_steps=4)
    metrics = _update(learner, _episodes(learner, _target_reward))
    assert metrics["ratio_q05"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["ratio_q95"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["effective_sample_size"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["policy_gradient_norm"] > 0.0
    assert metrics[NUM_UPDATES_LIFETIME] == 1


@pytest.mark.parametrize(
    ("likelihood", "num_steps"), [("gaussian_steps", 1), ("exact", 2), ("loss_difference", 2)]
)
def test_policy_climbs_a_reward(likelihood, num_steps):
    """In a bandit with reward `-|a - 0.5|^2` actions move to 0.5.

    One-step actions of the other likelihoods would not: what the ODE does says little about them.
    """
    learner = _learner(
        4,
        17,
        lr=4e-3,
        likelihood=likelihood,
        num_sampling_steps=num_steps,
        num_ode_steps=2,
        noise_std=0.3,
        consistency_coeff=0.0,
    )
    policy, seen = learner.module[DEFAULT_MODULE_ID].networks.policy, torch.randn(64, 3)
    before = float((policy.act(seen, num_steps) - 0.5).abs().mean())
    for update in range(30):
        _update(learner, _episodes(learner, _target_reward, seed=update))
    assert float((policy.act(seen, num_steps) - 0.5).abs().mean()) < 0.6 * before


def test_generating_noise_leaves_the_map_where_it_is():
    """Actions are the policy's own with small noise: nothing to learn, unless their noise is drawn anew."""
    losses = {}
    for coupling in ("generating", "independent"):
        learner = _learner(coupling=coupling, noise_std=0.01, num_noise_levels=2, consistency_coeff=1.0)
        with torch.no_grad():  # let actions depend on their noise
            learner.module[DEFAULT_MODULE_ID].networks.policy.mlp[-1].weight.mul_(100.0)
        losses[coupling] = _update(learner, _episodes(learner, lambda *_: 0.0))["consistency_loss"]
    assert losses["generating"] < 0.1 * losses["independent"]


def test_consistency_term_moves_the_policy_until_its_coefficient_is_zero():
    """With no reward to follow only the term moves the policy, and only before it has decayed."""
    learner = _learner(consistency_coeff=1.0, consistency_decay_steps=100)
    metrics = _update(learner, _episodes(learner, lambda *_: 0.0), num_env_steps=50)
    assert metrics["consistency_coeff"] == 0.5
    assert metrics["consistency_loss"] > 0.0 and metrics["policy_gradient_norm"] > 0.0
    metrics = _update(learner, _episodes(learner, lambda *_: 0.0), num_env_steps=100)
    assert metrics["consistency_coeff"] == 0.0 and not np.isfinite(metrics["consistency_loss"])
    assert metrics["policy_gradient_norm"] == pytest.approx(0.0, abs=1e-6)


def test_normaliser_counts_a_batch_after_it_was_learned_from():
    """Exactly the steps that were taken, not the ones that RLlib adds."""
    learner = _learner()
    normalizer = learner.module[DEFAULT_MODULE_ID].networks.policy.normalizer
    _update(learner, _episodes(learner, _target_reward))
    assert float(normalizer.count) == 64.0


def test_averaged_variances_are_never_negative(monkeypatch):
    """Sums over learners are rounded; an observation that never changes must not become NaN by it."""
    learner = _learner()
    monkeypatch.setattr(learner, "_average", lambda *tensors: [t.mul_(1.0 + 1e-6) for t in tensors])
    _update(learner, _episodes(learner, _target_reward, constant=100.0))
    normalizer = learner.module[DEFAULT_MODULE_ID].networks.policy.normalizer
    assert float(normalizer.mean[0]) == pytest.approx(100.0, rel=1e-3) and (normalizer.var >= 0.0).all()


def test_kl_machinery_of_rllib_works_on_the_estimate():
    """With `use_kl_loss` the coefficient adapts to a divergence that is far from its target."""
    learner = _learner(8, 16, lr=1e-2)
    learner.config = learner.config.copy(copy_frozen=False)
    learner.config.training(use_kl_loss=True, kl_coeff=0.2, kl_target=1e-5)
    metrics = _update(learner, _episodes(learner, _target_reward))
    assert metrics["mean_kl_loss"] > 2e-5
    assert metrics["curr_kl_coeff"] == pytest.approx(0.3)


def test_value_targets_are_learned_in_units_of_their_spread():
    """Rewards a thousand times as large give the same relative value loss."""
    losses = []
    for scale in (1.0, 1_000.0):
        learner = _learner()
        torch.manual_seed(0)
        reward_fn = lambda o, a, scale=scale: scale * _target_reward(o, a)  # noqa: E731
        losses.append(_update(learner, _episodes(learner, reward_fn))["vf_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def _weights(learner):
    networks = learner.module[DEFAULT_MODULE_ID].networks
    return {name: value.clone() for name, value in networks.state_dict().items() if "normalizer" not in name}


def _break_losses(monkeypatch, learner, is_broken_fn):
    """Makes the losses of some updates NaN, by their number."""
    compute_losses, number = learner.compute_losses, itertools.count()

    def broken(**kwargs):
        factor = float("nan") if is_broken_fn(next(number)) else 1.0
        return {name: factor * loss for name, loss in compute_losses(**kwargs).items()}

    monkeypatch.setattr(learner, "compute_losses", broken)


def _constant_targets(learner):
    """Lets statistics of values settle, so that nothing but updates moves weights."""
    learner.module[DEFAULT_MODULE_ID].networks.update_value_scale = lambda *_: None


def test_updates_that_are_not_finite_are_skipped(monkeypatch):
    """A NaN here and there costs an update each, and neither weights nor statistics."""
    learner = _learner(num_epochs=4, minibatch_size=17)
    _break_losses(monkeypatch, learner, lambda number: number in (0, 5))
    before = _weights(learner)
    metrics = _update(learner, _episodes(learner, _target_reward))
    assert (metrics[NUM_UPDATES_LIFETIME], metrics[NUM_SKIPPED_UPDATES_LIFETIME]) == (14, 2)
    assert metrics[NUM_ROLLBACKS_LIFETIME] == 0 and np.isfinite(metrics["policy_gradient_norm"])
    after = _weights(learner)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("num_epochs", [1, 4])
def test_weights_that_a_step_broke_come_back(num_epochs):
    """A huge step: no loss is finite after it, or, if it was the last one, no action is."""
    learner = _learner(num_epochs=num_epochs, lr=1e20, grad_clip=None)
    _constant_targets(learner)
    before = _weights(learner)
    metrics = _update(learner, _episodes(learner, _target_reward))
    assert (metrics[NUM_UPDATES_LIFETIME], metrics[NUM_ROLLBACKS_LIFETIME]) == (1, 1)
    assert metrics[NUM_SKIPPED_UPDATES_LIFETIME] == num_epochs - 1
    assert all(torch.equal(value, before[name]) for name, value in _weights(learner).items())


def test_restored_weights_are_not_undone(monkeypatch):
    """What came back after `set_state` would be of another time."""
    learner = _learner(num_epochs=2)
    _constant_targets(learner)
    _update(learner, _episodes(learner, _target_reward))
    learner.set_state(learner.get_state())
    restored = _weights(learner)
    _break_losses(monkeypatch, learner, lambda _: True)
    _update(learner, _episodes(learner, _target_reward))
    assert all(torch.equal(value, restored[name]) for name, value in _weights(learner).items())


def test_training_ends_when_no_update_is_good():
    """Rewards that are NaN for one iteration are survived, for ten they are an error."""
    learner = _learner()
    _update(learner, _episodes(learner, lambda *_: float("nan")))
    _update(learner, _episodes(learner, _target_reward))
    for _ in range(9):
        _update(learner, _episodes(learner, lambda *_: float("nan")))
    with pytest.raises(ValueError, match="the loss must be finite, got NaN or infinity in every update"):
        _update(learner, _episodes(learner, lambda *_: float("nan")))


def test_looking_for_broken_weights_draws_nothing():
    """A run with the check is the run without it."""
    learner = _learner()
    episodes = _episodes(learner, _target_reward)
    torch.manual_seed(3)
    _update(learner, episodes)
    drawn = torch.rand(())
    torch.manual_seed(3)
    assert drawn == torch.rand(())
