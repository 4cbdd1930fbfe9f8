"""Learning the action between two states. No Ray."""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from distill_rl.checks import check_at_least_one, check_shape
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.state_limits import StateLimits
from distill_rl.networks.plan_networks import InverseDynamics
from distill_rl.types import Array
from learners.network_trainer import NetworkTrainer
from learners.trajectory.plan_config import PlanConfig

_MIN_STEP = 1e-6


@dataclasses.dataclass(frozen=True)
class StepBatch:
    """Steps, of numpy arrays or torch tensors: scaled states before and after `[B, S]`, actions `[B, A]`."""

    state: Array  # [B, S]
    next_state: Array  # [B, S]
    action: Array  # [B, A]


class StepSampler:
    """Draws transitions of a dataset uniformly, with replacement.

    Args:
      dataset: to draw from.
      limits: by which states are scaled.

    Attributes:
      step_scale: standard deviation of the differences of scaled states. Shape `[S]`, float32.

    Raises:
      ValueError: if the dataset has no transition.
    """

    def __init__(self, dataset: OfflineDataset, limits: StateLimits):
        rows = dataset.transition_rows
        if not len(rows):
            raise ValueError(f"`dataset` must have transitions, got {len(dataset)} steps without one")
        self._states = limits.scale(dataset.observations[rows])
        self._next_states = limits.scale(dataset.next_observations[rows])
        self._actions = dataset.actions[rows]
        self.step_scale = np.maximum((self._next_states - self._states).std(axis=0), _MIN_STEP)

    def sample(self, batch_size: int, generator: np.random.Generator) -> StepBatch:
        """Draws a batch.

        Raises:
          ValueError: if `batch_size` is below 1.
        """
        check_at_least_one("batch_size", batch_size)
        rows = generator.integers(len(self._states), size=batch_size)
        return StepBatch(self._states[rows], self._next_states[rows], self._actions[rows])


class InverseDynamicsTrainer(NetworkTrainer[StepBatch]):
    """Fits `f(s, s')` to actions by least squares; the metric is `inverse_loss`.

    Args:
      state_size: `S`.
      action_size: `A`.
      config: how to learn.
      seed: of the initial weights.
      device: where the network lives.
      step_scale: standard deviation of the differences of scaled states. Shape `[S]`.

    Raises:
      ValueError: if `step_scale` has another shape.
    """

    def __init__(
        self,
        state_size: int,
        action_size: int,
        config: PlanConfig,
        seed: int,
        device: str | torch.device = "cpu",
        *,
        step_scale: np.ndarray,
    ):
        self.config = config
        self._sizes = (state_size, action_size)
        super().__init__(
            dataclasses.replace(config, learning_rate=config.inverse_learning_rate), seed, device
        )
        check_shape("step_scale", step_scale, (state_size,))
        for network in (self.online, self.ema):
            network.step_scale.copy_(torch.as_tensor(step_scale))
        self._last_good = self._copy_weights()

    def _make_networks(self) -> nn.Module:
        return InverseDynamics(*self._sizes, self.config.inverse_hidden_sizes)

    def _losses(self, batch: StepBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        predicted = self.online(batch.state, batch.next_state)
        check_shape("action", batch.action, tuple(predicted.shape))
        return {"inverse_loss": (predicted - batch.action).square().mean()}, {"inverse_loss": 1.0}
