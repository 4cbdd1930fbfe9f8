"""The student as an RLlib module. The only file of its floor that imports RLlib."""

import logging
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule

from distill_rl.networks.distill_networks import StudentNetworks, make_networks
from distill_rl.networks.world_model import WorldModelConfig

# RLlib warns about a deprecated argument that it passes itself, once in every process.
logging.getLogger("ray._common.deprecation").setLevel(logging.ERROR)


class ConsistencyModule(TorchRLModule):
    """Acts with the one-step policy, without noise when exploiting.

    Its weights are the moving average that is broadcast, acted with and checkpointed; the weights that the
    optimiser moves live in the learner. `model_config` holds the keyword arguments of `DistillNetworks` under
    `"networks"`, those of `WorldModelConfig` under `"world_model"`, and `"noise_scale"` and `"num_steps"` of
    the acting policy.

    Attributes:
      networks: the policy and its value function.
    """

    networks: StudentNetworks

    def setup(self) -> None:
        """Builds the networks for the module's spaces.

        Raises:
          ValueError: if the observations are no vectors or the actions no box.
        """
        observation_size = _vector_size("observation_space", self.observation_space)
        action_size = _vector_size("action_space", self.action_space)
        world_model = WorldModelConfig(**self.model_config.get("world_model", {}))
        self.networks = make_networks(
            observation_size, action_size, self.model_config["networks"], world_model
        )

    def _forward_inference(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch, noise_scale=0.0)

    def _forward_exploration(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch, noise_scale=self.model_config["noise_scale"])

    def _forward_train(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError("the losses are functions of reference sets; see `learners.objectives`")

    def _act(self, batch: Mapping[str, Any], noise_scale: float) -> dict[str, torch.Tensor]:
        observation = batch[Columns.OBS].to(torch.float32)
        num_steps = self.model_config["num_steps"]
        encoded = self.networks.encode(observation)
        return {Columns.ACTIONS: self.networks.policy.act(encoded, num_steps, noise_scale)}


def _vector_size(name: str, space: gym.Space | None) -> int:
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"`{name}` must be a Box of rank 1, got {space}")
    return int(space.shape[0])
