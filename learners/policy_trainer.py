"""Trainers of networks that lead from observations to actions. No Ray."""

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from distill_rl.networks.normalizer import RunningNormalizer
from learners.network_trainer import Batch, NetworkTrainer, StepConfig

Config = TypeVar("Config", bound=StepConfig)


class PolicyTrainer(NetworkTrainer[Batch], Generic[Batch, Config]):
    """A `NetworkTrainer` that knows the sizes of observations and actions.

    Args:
      observation_size: `O`.
      action_size: `A`.
      config: what to learn and how.
      seed: of the initial weights and of every later draw.
      device: where the networks live.
      average_fn: averages tensors in place over the learners of a group, before anything is decided on.

    Attributes:
      config: as given.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: Config,
        seed: int,
        device: str | torch.device = "cpu",
        average_fn: Callable[[list[Tensor]], None] | None = None,
    ):
        self.config = config
        self._sizes = (observation_size, action_size)
        super().__init__(config, seed, device, average_fn)

    def set_statistics(self, mean: np.ndarray, var: np.ndarray, count: int) -> None:
        """Sets the mean and variance by which every network normalises observations.

        Args:
          mean: shape `[O]`.
          var: shape `[O]`.
          count: of the observations that they are of.

        Raises:
          ValueError: if a shape is another, or they are not finite.
        """
        for networks in (self.online, self.ema):
            for module in networks.modules():
                if isinstance(module, RunningNormalizer):
                    module.set_statistics(mean, var, count)
        self._last_good = self._copy_weights()
