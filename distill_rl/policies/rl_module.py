"""Policies as RLlib modules; that of PPO is in `actor_critic_module`."""

import logging
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule

from distill_rl.networks.world_model import WorldModelConfig
from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.chunk_networks import STUDENT, TEACHER, ChunkNetworks
from distill_rl.policies.distill_networks import StudentNetworks, make_networks
from distill_rl.policies.offline_networks import OfflineNetworks

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
        """Builds the networks for observations `[B, O]` and actions `[B, A]`."""
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


class ChunkModule(PolicyModule):
    """Teacher and student over chunks of actions. Each call plans anew and returns first actions.

    `model_config` holds the keyword arguments of `ChunkNetworks` under `"networks"`, and those of acting with
    each of the two under `"teacher"` and `"student"`. The student acts from its first update on.
    """

    networks: ChunkNetworks

    def _make_networks(self, observation_size: int, action_size: int) -> ChunkNetworks:
        return ChunkNetworks(observation_size, action_size, **self.model_config["networks"])

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        part = STUDENT if self.networks.has(STUDENT) else TEACHER
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
