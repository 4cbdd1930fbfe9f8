"""Likelihoods in place of a distribution's parameters, as RLlib's PPO loss asks for them."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from distill_rl.policies.actor_critic_module import NETWORK_INPUTS, ActorCriticModule, LogProbDistribution
from distill_rl.policies.noisy_actions import chain_log_prob, denoising_log_prob, ode_log_prob

_NETWORKS = {"hidden_sizes": (8,), "noise_std": 0.5, "sigma_min": 0.02, "sigma_max": 5.0}


def make(likelihood, **settings):
    torch.manual_seed(0)
    module = ActorCriticModule(
        observation_space=gym.spaces.Box(-np.inf, np.inf, (3,), np.float32),
        action_space=gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
        model_config={"networks": _NETWORKS, "likelihood": likelihood, "num_steps": 2, **settings},
    )
    torch.nn.init.normal_(module.networks.policy.mlp[-1].weight)  # which starts next to nothing
    return module


def test_divergence_and_entropy_are_those_of_gaussians():
    """Their means over actions of the old policy, against the closed forms."""
    old, new = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.3, 1.4)
    torch.manual_seed(0)
    actions = old.sample((200_000,))
    before, after = (LogProbDistribution(policy.log_prob(actions)) for policy in (old, new))
    kl = torch.distributions.kl_divergence(old, new)
    assert float(before.kl(after).mean()) == pytest.approx(float(kl), rel=0.02)
    assert bool((before.kl(after) >= 0.0).all())
    assert float(before.entropy().mean()) == pytest.approx(float(old.entropy()), rel=0.01)
    log_probs = LogProbDistribution.from_logits(old.log_prob(actions).unsqueeze(-1)).logp(actions)
    assert torch.equal(log_probs, old.log_prob(actions))


def test_each_likelihood_is_of_the_actions_drawn():
    """The function that its name stands for, on what exploring left in the batch."""
    observation = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    module = make("gaussian_steps")
    drawn = module.forward_exploration({"obs": observation})
    networks, batch = module.networks, {"obs": observation, **drawn}
    expected = chain_log_prob(
        networks.policy, networks.noise_log_std, observation, drawn["actions"], drawn[NETWORK_INPUTS]
    )
    torch.testing.assert_close(module.log_prob(batch), expected)
    module = make("exact", num_ode_steps=4)
    expected = ode_log_prob(module.networks.policy, 0.5, observation, drawn["actions"], 4)
    torch.testing.assert_close(module.log_prob(batch), expected)
    module = make("loss_difference", num_loss_samples=6)
    noise = module.draw_loss_noise(5, torch.Generator().manual_seed(2))
    expected = denoising_log_prob(module.networks.policy, observation, drawn["actions"], *noise.values())
    torch.testing.assert_close(module.log_prob(batch | noise), expected)


def test_policies_are_compared_at_levels_that_cover_the_range_evenly():
    """One noise level in each of equal parts of the logarithm; seeded; other likelihoods need none."""
    module = make("loss_difference", num_loss_samples=4)
    sigma, noise = module.draw_loss_noise(300, torch.Generator().manual_seed(0)).values()
    assert sigma.shape == (300, 4) and noise.shape == (300, 4, 2)
    part = 4.0 * torch.log(sigma / 0.02) / np.log(5.0 / 0.02)
    assert torch.equal(part.floor(), torch.arange(4.0).expand(300, 4))
    torch.testing.assert_close((part % 1.0).mean(), torch.tensor(0.5), atol=0.03, rtol=0.0)
    again, _ = module.draw_loss_noise(300, torch.Generator().manual_seed(0)).values()
    assert torch.equal(sigma, again)
    assert make("exact").draw_loss_noise(300, torch.Generator()) == {}


def test_ratios_stay_where_exp_and_its_gradient_are_finite():
    """A policy far from the one that acted has a log-ratio of 20 at most, either way."""
    module = make("gaussian_steps")
    observation = torch.zeros(2, 3)
    drawn = module.forward_exploration({"obs": observation})
    log_prob = module.log_prob({"obs": observation, **drawn}).detach()
    before = log_prob + torch.tensor([1e3, -1e3])
    out = module.forward_train({"obs": observation, **drawn, "action_logp": before})
    change = out["action_dist_inputs"].squeeze(-1) - before
    torch.testing.assert_close(change, torch.tensor([-20.0, 20.0]), atol=1e-3, rtol=0.0)


def test_values_are_those_in_reward_units_unless_scaled_ones_are_given():
    """RLlib hands back what `forward_train` predicted, which is compared with scaled targets."""
    module = make("exact")
    module.networks.update_value_scale(torch.tensor(3.0), torch.tensor(13.0))
    torch.nn.init.normal_(module.networks.value_network[-1].weight)
    batch = {"obs": torch.randn(4, 3)}
    scaled = module.networks.scaled_value(batch["obs"])
    assert module.compute_values(batch, scaled) is scaled
    torch.testing.assert_close(module.compute_values(batch), 3.0 + 2.0 * scaled)
