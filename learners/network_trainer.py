"""Gradient steps that leave no broken weights behind: Adam, clipping, averaging, the way back. No Ray."""

import abc
import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")

_SNAPSHOT_INTERVAL_UPDATES = 100
_MOST_ROLLBACKS = 10
"""Times that the last good weights come back without a good update in between: then it is not the weights."""


class StepConfig(Protocol):
    """What every trainer's configuration has."""

    @property
    def learning_rate(self) -> float:
        """Step size of Adam."""
        ...

    @property
    def grad_clip_norm(self) -> float:
        """Largest norm of the gradient of a group of parameters."""
        ...

    @property
    def ema_decay(self) -> float:
        """Decay of the averaged weights."""
        ...

    @property
    def max_consecutive_skips(self) -> int:
        """Updates skipped in a row before the last good weights come back."""
        ...


class NetworkTrainer(abc.ABC, Generic[Batch]):
    """Owns the online and averaged networks, the optimiser and the noise, and takes gradient steps.

    A step whose loss or gradient is not finite is skipped before it touches the weights. After
    `max_consecutive_skips` in a row the weights are taken to be the cause, and the last ones that gave a
    finite loss come back. When they came back ten times and no update was good since, training ends.

    Args:
      config: how to step; subclasses have more in it.
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
        config: StepConfig,
        seed: int,
        device: str | torch.device = "cpu",
        average_fn: Callable[[list[Tensor]], None] | None = None,
    ):
        self._step_config = config
        self._average_fn = average_fn
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.online = self._make_networks().to(self.device)
        self.ema = copy.deepcopy(self.online).requires_grad_(False)
        self.num_updates = 0
        self.num_skipped_updates = 0
        self.num_rollbacks = 0
        self._consecutive_skips = self._rollbacks_in_vain = 0
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._parameters: list[Tensor] = list(self.online.parameters())
        self._ema_parameters: list[Tensor] = list(self.ema.parameters())
        self._optimizer = torch.optim.Adam(self._parameter_groups(), lr=config.learning_rate, fused=True)
        self._learning_rates: list[float] = [group["lr"] for group in self._optimizer.param_groups]
        self._last_good = self._copy_weights()

    def update(self, batch: Batch) -> dict[str, float]:
        """Takes one gradient step on a batch.

        Returns:
          Metrics of the step: the losses by name, `grad_norm`, what a subclass adds, and the running
          `num_updates`, `num_skipped_updates` and `num_rollbacks`.

        Raises:
          ValueError: if the last good weights came back ten times and no update was good since.
        """
        on_device = self._to_device(batch)
        # Backward.
        self._optimizer.zero_grad(set_to_none=True)
        losses, weights = self._losses(on_device)
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        # The one synchronisation: everything that is decided on or reported.
        grads = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        detached = torch.stack([loss.detach() for loss in losses.values()])
        if self._average_fn is not None:
            self._average_fn([*grads, detached])
        grad_norm = nn.utils.get_total_norm(grads)
        extra = self._extra_metrics(on_device)
        names = (*losses, "grad_norm", *extra)
        scalars = torch.cat([detached, torch.stack([grad_norm, *extra.values()])]).tolist()
        metrics = dict(zip(names, scalars, strict=True))
        # Step, or not.
        broken = [name for name in (*losses, "grad_norm") if not math.isfinite(metrics[name])]
        if broken:
            self._skip(broken)
        else:
            self._step(metrics["grad_norm"])
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
        self._consecutive_skips = self._rollbacks_in_vain = 0
        self._last_good = self._copy_weights()

    def reseed(self, seed: int) -> None:
        """Starts the draws anew."""
        self._generator.manual_seed(seed)

    def decay_learning_rate(self, num_updates: int) -> None:
        """Sets the step sizes to where they are on their way to 0 along half a cosine.

        They are `(1 + cos(pi n / num_updates)) / 2` of those that the trainer started with, `n` being the
        gradient steps taken, and stay at 0 from `num_updates` on (Loshchilov & Hutter 2017, Eq. (5), without
        restarts).

        Args:
          num_updates: gradient steps that the way takes, at least 1.
        """
        progress = min(1.0, self.num_updates / num_updates)
        factor = 0.5 * (1.0 + math.cos(math.pi * progress))
        for group, learning_rate in zip(self._optimizer.param_groups, self._learning_rates, strict=True):
            group["lr"] = factor * learning_rate

    @abc.abstractmethod
    def _make_networks(self) -> Any:
        """Returns the networks, with weights drawn from torch's global generator."""

    @abc.abstractmethod
    def _losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Updates the statistics of observations; returns the losses by name, and their weights."""

    def _to_device(self, batch: Batch) -> Batch:
        """Returns the batch, a dataclass of arrays, as float32 tensors on the device."""
        arrays: Any = batch
        tensors = {
            field.name: torch.as_tensor(getattr(arrays, field.name), dtype=torch.float32, device=self.device)
            for field in dataclasses.fields(arrays)
        }
        moved: Batch = dataclasses.replace(arrays, **tensors)
        return moved

    def _average_weights(self) -> None:
        """Moves the averaged parameters towards those just stepped."""
        torch._foreach_lerp_(self._ema_parameters, self._parameters, 1.0 - self._ema_decay())

    def _ema_decay(self) -> float:
        """Returns the decay of the averaged weights at this update."""
        return self._step_config.ema_decay

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the groups of parameters that Adam steps, with their own settings."""
        return [{"params": self._parameters}]

    def _extra_metrics(self, batch: Batch) -> dict[str, Tensor]:
        """Returns further scalars to report."""
        return {}

    def _clip(self, grad_norm: float) -> None:
        """Scales gradients to the largest norm allowed; `grad_norm` is that of all of them."""
        if grad_norm > self._step_config.grad_clip_norm:
            grads = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            torch._foreach_mul_(grads, self._step_config.grad_clip_norm / grad_norm)

    def _step(self, grad_norm: float) -> None:
        self._consecutive_skips = self._rollbacks_in_vain = 0
        # The weights before the step are known to be good, those after it are not.
        if self.num_updates % _SNAPSHOT_INTERVAL_UPDATES == 0:
            self._last_good = self._copy_weights()
        self._clip(grad_norm)
        self._optimizer.step()
        with torch.no_grad():
            self._average_weights()
            for ema_buffer, buffer in zip(self.ema.buffers(), self.online.buffers(), strict=True):
                ema_buffer.copy_(buffer)
        self.num_updates += 1

    def _skip(self, broken: list[str]) -> None:
        """Counts an update that `broken`, losses or the norm of the gradient, forbid; see the class."""
        most_skips = self._step_config.max_consecutive_skips
        self.num_skipped_updates += 1
        self._consecutive_skips += 1
        if self._consecutive_skips < most_skips:
            return
        self._load_weights(self._last_good)
        self._consecutive_skips = 0
        self.num_rollbacks += 1
        self._rollbacks_in_vain += 1
        if self._rollbacks_in_vain >= _MOST_ROLLBACKS:
            raise ValueError(
                f"`{broken[0]}` must be finite, got NaN or infinity and so skipped the last "
                f"{self._rollbacks_in_vain * most_skips} updates, though the last good weights came back "
                f"{self._rollbacks_in_vain} times; the data must be finite, and learning rates small enough"
            )

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
