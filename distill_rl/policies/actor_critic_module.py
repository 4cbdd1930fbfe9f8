"""A noisy consistency policy and its values as RLlib's PPO wants them."""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI

from distill_rl.policies.actor_critic import ActorCriticNetworks
from distill_rl.policies.noisy_actions import (
    chain_log_prob,
    denoising_log_prob,
    draw_noisy_actions,
    ode_log_prob,
)
from distill_rl.policies.rl_module import PolicyModule

NETWORK_INPUTS = "network_inputs"
"""Column of what the network was called with at each step of sampling. Shape `[M, K, A]`."""

_LOSS_SIGMA, _LOSS_NOISE = "loss_sigma", "loss_noise"
_MAX_LOG_RATIO = 20.0  # beyond it `exp` and its gradient overflow; every ratio there is clipped by far


class LogProbDistribution(Distribution):
    """What RLlib's PPO loss asks of a distribution, from the log-likelihood of the action that was taken.

    There is no closed form of the divergence; `kl` returns `r - 1 - log r` of each action, whose mean under
    the old policy is `KL(old || new)`.
    """

    def __init__(self, log_prob: torch.Tensor):
        self._log_prob = log_prob

    def logp(self, value: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Returns the log-likelihood of the actions taken. Shape `[M]`."""
        return self._log_prob

    def kl(self, other: "LogProbDistribution", **kwargs: Any) -> torch.Tensor:
        """Returns `r - 1 - log r`, `r` the likelihood under `other` over that under this one. Shape `[M]`."""
        log_ratio = other._log_prob - self._log_prob
        return log_ratio.exp() - 1.0 - log_ratio

    def entropy(self, **kwargs: Any) -> torch.Tensor:
        """Returns `-log pi(a | s)`. Shape `[M]`."""
        return -self._log_prob

    def sample(self, **kwargs: Any) -> torch.Tensor:
        """Refuses: the module draws actions, and this class knows nothing but their likelihood.

        Raises:
          NotImplementedError: always.
        """
        raise NotImplementedError("actions are drawn by `forward_exploration`")

    rsample = sample

    @staticmethod
    def required_input_dim(space: gym.Space, **kwargs: Any) -> int:
        """Returns the size of what `from_logits` takes."""
        return 1

    @classmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: Any) -> "LogProbDistribution":
        """Takes log-likelihoods `[M, 1]`."""
        return cls(logits.squeeze(-1))


class ActorCriticModule(PolicyModule, ValueFunctionAPI):
    """A noisy consistency policy and its value network, as RLlib's PPO wants them.

    `forward_train` returns log-likelihoods of the actions in the batch in place of a distribution's
    parameters. `model_config` holds the keyword arguments of `ActorCriticNetworks` under `"networks"`, and
    `"likelihood"` with its `"num_ode_steps"` or `"num_loss_samples"`.
    """

    networks: ActorCriticNetworks

    def setup(self) -> None:
        """Builds the networks for the module's spaces; see `PolicyModule.setup`."""
        super().setup()
        self.action_dist_cls = LogProbDistribution

    def _make_networks(self, observation_size: int, action_size: int) -> ActorCriticNetworks:
        return ActorCriticNetworks(observation_size, action_size, **self.model_config["networks"])

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        actions, inputs = draw_noisy_actions(
            self.networks.policy,
            self.networks.noise_log_std,
            batch[Columns.OBS].to(torch.float32),
            self.model_config["num_steps"],
        )
        return {Columns.ACTIONS: actions, NETWORK_INPUTS: inputs}

    def _forward_train(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        log_prob = self.log_prob(batch)
        change = (log_prob - batch[Columns.ACTION_LOGP]).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        return {
            Columns.ACTION_DIST_INPUTS: (batch[Columns.ACTION_LOGP] + change).unsqueeze(-1),
            Columns.EMBEDDINGS: self.networks.scaled_value(batch[Columns.OBS].to(torch.float32)),
        }

    def compute_values(self, batch: Mapping[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Returns values `[M]` in reward units; with `embeddings`, these, which are scaled as targets are."""
        if embeddings is not None:
            return embeddings
        return self.networks.value(batch[Columns.OBS].to(torch.float32))

    def draw_loss_noise(self, num_rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Draws what policies are compared under, to be put into the batch; nothing for most likelihoods.

        Args:
          num_rows: `M`.
          generator: source of the draws.

        Returns:
          Noise levels `[M, L]` and unit noise `[M, L, A]` by column.
        """
        if self.model_config["likelihood"] != "loss_difference":
            return {}
        policy, num_samples = self.networks.policy, self.model_config["num_loss_samples"]
        low, high = math.log(policy.sigma_min), math.log(policy.sigma_max)
        # One level in each of equal parts: less noise than independent levels, on the same mean.
        part = torch.arange(num_samples, device=generator.device)
        drawn = torch.rand((num_rows, num_samples), generator=generator, device=generator.device)
        shape = (num_rows, num_samples, policy.action_size)
        return {
            _LOSS_SIGMA: torch.exp(low + (high - low) * (part + drawn) / num_samples),
            _LOSS_NOISE: torch.randn(shape, generator=generator, device=generator.device),
        }

    def log_prob(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Returns log-likelihoods of the actions in a batch, up to a constant. Shape `[M]`."""
        networks, likelihood = self.networks, self.model_config["likelihood"]
        observation, actions = batch[Columns.OBS].to(torch.float32), batch[Columns.ACTIONS]
        if likelihood == "gaussian_steps":
            return chain_log_prob(
                networks.policy, networks.noise_log_std, observation, actions, batch[NETWORK_INPUTS]
            )
        if likelihood == "loss_difference":
            return denoising_log_prob(
                networks.policy, observation, actions, batch[_LOSS_SIGMA], batch[_LOSS_NOISE]
            )
        noise_std = self.model_config["networks"]["noise_std"]
        num_steps = self.model_config["num_ode_steps"]
        return ode_log_prob(networks.policy, noise_std, observation, actions, num_steps)
