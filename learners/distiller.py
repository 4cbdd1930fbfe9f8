"""The gradient step: reference sets in, better weights out. No Ray."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distill_rl.networks.distill_networks import DistillNetworks
from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.objectives import ema_decay_at, make_objective
from learners.posterior import log_effective_sample_size

_SNAPSHOT_INTERVAL_UPDATES = 100


class Distiller:
    """Owns the online and averaged networks, the optimiser and the noise, and takes gradient steps.

    A step whose loss or gradient is not finite is skipped before it touches the weights. After
    `max_consecutive_skips` in a row the weights are taken to be the cause, and the last ones that gave a
    finite loss come back.

    Args:
      observation_size: `O`.
      action_size: `A`.
      config: what to learn and how.
      seed: of the initial weights and of every later draw.
      device: where the networks live.
      average_fn: averages tensors in place over the learners of a group, before anything is decided on.

    Attributes:
      online: the networks that learn.
      ema: their exponential average, which acts; never differentiated.
      num_updates: gradient steps taken.
      num_skipped_updates: steps skipped for a non-finite loss or gradient.
      num_rollbacks: times the last good weights came back.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        config: DistillationConfig,
        seed: int,
        device: str | torch.device = "cpu",
        average_fn: Callable[[list[Tensor]], None] | None = None,
    ):
        self.config = config
        self._average_fn = average_fn
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.online = self._make_networks(observation_size, action_size).to(self.device)
        self.ema = copy.deepcopy(self.online).requires_grad_(False)
        self.num_updates = 0
        self.num_skipped_updates = 0
        self.num_rollbacks = 0
        self._consecutive_skips = 0
        self._objective = make_objective(config)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._parameters: list[Tensor] = list(self.online.parameters())
        self._ema_parameters: list[Tensor] = list(self.ema.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate, fused=True)
        self._last_good = self._copy_weights()

    def update(self, reference_set: ReferenceSet) -> dict[str, float]:
        """Takes one gradient step on a batch.

        Args:
          reference_set: the batch, of numpy arrays or torch tensors.

        Returns:
          Metrics of the step: `policy_loss` and `value_loss` (or what a subclass has), `grad_norm`,
          `log_effective_sample_size` (mean over states), and the running `num_updates`, `num_skipped_updates`
          and `num_rollbacks`.
        """
        batch = to_tensors(reference_set, self.device)
        # Backward.
        self._optimizer.zero_grad(set_to_none=True)
        losses, weights = self._losses(batch)
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        # The one synchronisation: everything that is decided on or reported.
        grads = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        detached = torch.stack([loss.detach() for loss in losses.values()])
        if self._average_fn is not None:
            self._average_fn([*grads, detached])
        grad_norm = nn.utils.get_total_norm(grads)
        log_ess = log_effective_sample_size(batch.log_probs - batch.log_proposals).mean()
        names = (*losses, "grad_norm", "log_effective_sample_size")
        scalars = torch.cat([detached, torch.stack([grad_norm, log_ess])]).tolist()
        metrics = dict(zip(names, scalars, strict=True))
        # Step, or not.
        if all(math.isfinite(metrics[name]) for name in (*losses, "grad_norm")):
            self._step(grads, metrics["grad_norm"])
        else:
            self._skip()
        return metrics | {
            "num_updates": self.num_updates,
            "num_skipped_updates": self.num_skipped_updates,
            "num_rollbacks": self.num_rollbacks,
        }

    def get_state(self) -> dict[str, Any]:
        """Returns everything that `set_state` needs to go on with the same draws and weights."""
        return {
            **self._copy_weights(),
            "generator": self._generator.get_state(),
            "num_updates": self.num_updates,
            "num_skipped_updates": self.num_skipped_updates,
            "num_rollbacks": self.num_rollbacks,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state saved by `get_state`.

        Raises:
          RuntimeError: from torch, if the weights are of another architecture.
        """
        self._load_weights(state)
        self._generator.set_state(state["generator"].cpu())
        self.num_updates = int(state["num_updates"])
        self.num_skipped_updates = int(state["num_skipped_updates"])
        self.num_rollbacks = int(state["num_rollbacks"])
        self._consecutive_skips = 0
        self._last_good = self._copy_weights()

    def _make_networks(self, observation_size: int, action_size: int) -> Any:
        return DistillNetworks(observation_size, action_size, **self._policy_settings())

    def _policy_settings(self) -> dict[str, Any]:
        names = ("hidden_sizes", "sigma_min", "sigma_max", "sigma_data")
        return {name: getattr(self.config, name) for name in names}

    def _losses(self, batch: ReferenceSet) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Updates the statistics of observations; returns the losses by name, and their weights."""
        self.online.policy.normalizer.update(batch.observation)
        self.online.value.normalizer.update(batch.observation)
        losses = {"policy_loss": self._policy_loss(batch), "value_loss": self._value_loss(batch)}
        return losses, {"policy_loss": 1.0, "value_loss": self.config.value_loss_weight}

    def _policy_loss(self, batch: ReferenceSet) -> Tensor:
        return self._objective(
            self.online.policy, self.ema.policy, batch, update=self.num_updates, generator=self._generator
        )

    def _value_loss(self, batch: ReferenceSet) -> Tensor:
        """Returns the loss of the value network: on transitions if there are any, else on `policy_value`.

        Of each state's transitions one takes part: the first, which starts at the state itself, of every
        other state, and any of the rest.
        """
        if batch.transitions is None:
            return self.online.value.loss(batch.observation, batch.policy_value)
        num_states, num_transitions = batch.transitions.reward.shape
        row = torch.arange(num_states, device=self.device)
        column = torch.randint(num_transitions, (num_states,), generator=self._generator, device=self.device)
        column[::2] = 0
        drawn = batch.transitions
        with torch.no_grad():
            bootstrap = self.ema.value.value(drawn.next_observation[row, column])
        target = drawn.reward[row, column] + drawn.discount[row, column] * bootstrap
        return self.online.value.loss(drawn.observation[row, column], target)

    def _step(self, grads: list[Tensor], grad_norm: float) -> None:
        self._consecutive_skips = 0
        # The weights before the step are known to be good, those after it are not.
        if self.num_updates % _SNAPSHOT_INTERVAL_UPDATES == 0:
            self._last_good = self._copy_weights()
        if grad_norm > self.config.grad_clip_norm:
            torch._foreach_mul_(grads, self.config.grad_clip_norm / grad_norm)
        self._optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                self._ema_parameters, self._parameters, 1.0 - ema_decay_at(self.config, self.num_updates)
            )
            for ema_buffer, buffer in zip(self.ema.buffers(), self.online.buffers(), strict=True):
                ema_buffer.copy_(buffer)
        self.num_updates += 1

    def _skip(self) -> None:
        self.num_skipped_updates += 1
        self._consecutive_skips += 1
        if self._consecutive_skips >= self.config.max_consecutive_skips:
            self._load_weights(self._last_good)
            self._consecutive_skips = 0
            self.num_rollbacks += 1

    def _copy_weights(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "online": self.online.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self._optimizer.state_dict(),
            }
        )

    def _load_weights(self, weights: dict[str, Any]) -> None:
        self.online.load_state_dict(weights["online"])
        self.ema.load_state_dict(weights["ema"])
        self._optimizer.load_state_dict(copy.deepcopy(weights["optimizer"]))


def to_tensors(reference_set: ReferenceSet, device: torch.device) -> ReferenceSet:
    """Returns the set with float32 torch tensors on a device, without a copy where none is needed."""
    return reference_set.map_arrays(lambda a: torch.as_tensor(a, dtype=torch.float32, device=device))
