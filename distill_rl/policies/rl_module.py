"""Policies as RLlib modules. The only file of its floor that imports RLlib."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule

from distill_rl.networks.actor_critic import ActorCriticNetworks
from distill_rl.networks.chunk_networks import ChunkNetworks
from distill_rl.networks.distill_networks import StudentNetworks, make_networks
from distill_rl.networks.offline_networks import OfflineNetworks
from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.noisy_actions import (
    chain_log_prob,
    denoising_log_prob,
    draw_noisy_actions,
    ode_log_prob,
)

# RLlib warns about a deprecated argument that it passes itself, once in every process.
logging.getLogger("ray._common.deprecation").setLevel(logging.ERROR)


class PolicyModule(TorchRLModule):
    """Acts with the policy of some networks, which subclasses build.

    The weights are the moving average that is broadcast, acted with and checkpointed; the weights that the
    optimiser moves live in the learner. `model_config` holds `"num_steps"`, `"noise_scale"` of exploring and
    `"inference_noise_scale"` of exploiting, beside what the networks need.

    Attributes:
      networks: with a `policy`, and `encode` for what it is conditioned on.
    """

    networks: Any

    def setup(self) -> None:
        """Builds the networks for the module's spaces.

        Raises:
          ValueError: if the observations are no vectors or the actions no box.
        """
        observation_size = _vector_size("observation_space", self.observation_space)
        action_size = _vector_size("action_space", self.action_space)
        self.networks = self._make_networks(observation_size, action_size)

    def _make_networks(self, observation_size: int, action_size: int) -> Any:
        raise NotImplementedError

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch, self.model_config["inference_noise_scale"])

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch, self.model_config["noise_scale"])

    def _forward_train(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError("the losses are those of the learner's trainer")

    def _act(self, batch: Mapping[str, Any], noise_scale: float) -> dict[str, torch.Tensor]:
        encoded = self.networks.encode(batch[Columns.OBS].to(torch.float32))
        return {
            Columns.ACTIONS: self.networks.policy.act(encoded, self.model_config["num_steps"], noise_scale)
        }


class ConsistencyModule(PolicyModule):
    """The student of reference sets: a one-step policy and its value function.

    `model_config` holds the keyword arguments of `DistillNetworks` under `"networks"`, and those of
    `WorldModelConfig` under `"world_model"`.
    """

    networks: StudentNetworks

    def _make_networks(self, observation_size: int, action_size: int) -> StudentNetworks:
        world_model = WorldModelConfig(**self.model_config.get("world_model", {}))
        return make_networks(observation_size, action_size, self.model_config["networks"], world_model)


class OfflineModule(PolicyModule):
    """What is learned from fixed data: a policy, and a critic with most methods.

    `model_config` holds the keyword arguments of `OfflineNetworks` under `"networks"`, and
    `"num_candidates"` of acting, see `act_by_value`.
    """

    networks: OfflineNetworks

    def _make_networks(self, observation_size: int, action_size: int) -> OfflineNetworks:
        return OfflineNetworks(observation_size, action_size, **self.model_config["networks"])

    def _act(self, batch: Mapping[str, Any], noise_scale: float) -> dict[str, torch.Tensor]:
        num_candidates = self.model_config["num_candidates"]
        if num_candidates == 1 or self.networks.critic is None:
            return super()._act(batch, noise_scale)
        actions = act_by_value(
            self.networks.policy,
            self.networks.critic,
            batch[Columns.OBS].to(torch.float32),
            num_candidates,
            self.model_config["num_steps"],
            noise_scale,
        )
        return {Columns.ACTIONS: actions}


LIKELIHOOD_NAMES = ("gaussian_steps", "exact", "loss_difference")
"""What `ActorCriticModule` can make ratios of, see `distill_rl.policies.noisy_actions`."""

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
        """Returns `r - 1 - log r` with `r` this policy's likelihood over the `other`'s. Shape `[M]`."""
        log_ratio = other._log_prob - self._log_prob
        return log_ratio.exp() - 1.0 - log_ratio

    def entropy(self, **kwargs: Any) -> torch.Tensor:
        """Returns `-log pi(a | s)`. Shape `[M]`."""
        return -self._log_prob

    def sample(self, **kwargs: Any) -> torch.Tensor:
        """Refuses: the module draws actions, and this class knows nothing but their likelihood."""
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
        """Returns values in reward units; with `embeddings`, these, which are scaled as targets are."""
        if embeddings is not None:
            return embeddings
        return self.networks.value(batch[Columns.OBS].to(torch.float32))

    def draw_loss_noise(self, num_rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Draws what policies are compared under, to be put into the batch; nothing for most likelihoods.

        Args:
          num_rows: `M`.
          generator: source of the draws.
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


class ChunkModule(PolicyModule):
    """Teacher and student over chunks of actions. Each call plans anew and returns first actions.

    `model_config` holds the keyword arguments of `ChunkNetworks` under `"networks"`, and those of acting with
    each of the two under `"teacher"` and `"student"`. The student acts from its first update on.
    """

    networks: ChunkNetworks

    def _make_networks(self, observation_size: int, action_size: int) -> ChunkNetworks:
        return ChunkNetworks(observation_size, action_size, **self.model_config["networks"])

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        part = "student" if self.networks.has("student") else "teacher"
        policy = getattr(self.networks, part)
        acting = {name: value for name, value in self.model_config[part].items() if name != "exec_horizon"}
        with torch.no_grad():
            chunks = policy.sample(batch[Columns.OBS].to(torch.float32), **acting)
        return {Columns.ACTIONS: chunks[:, 0]}

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._forward_inference(batch)


def _vector_size(name: str, space: gym.Space | None) -> int:
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"`{name}` must be a Box of rank 1, got {space}")
    return int(space.shape[0])
