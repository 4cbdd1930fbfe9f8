"""The gradient step: reference sets in, better weights out. No Ray."""

import functools
from typing import Any

import torch
from torch import Tensor

from distill_rl.policies.distill_networks import DistillNetworks
from distill_rl.types import ReferenceSet
from learners.config import DistillationConfig
from learners.objectives import Objective, ema_decay_at, make_objective
from learners.policy_trainer import PolicyTrainer
from learners.posterior import log_effective_sample_size


class Distiller(PolicyTrainer[ReferenceSet, DistillationConfig]):
    """Takes gradient steps on reference sets, of numpy arrays or torch tensors; see `PolicyTrainer`.

    Metrics are `policy_loss` and `value_loss` (or what a subclass has) and `log_effective_sample_size`, the
    mean over states.
    """

    @functools.cached_property
    def _objective(self) -> Objective:
        return make_objective(self.config)

    def _make_networks(self) -> Any:
        return DistillNetworks(*self._sizes, **self._policy_settings())

    def _policy_settings(self) -> dict[str, Any]:
        names = ("hidden_sizes", "sigma_min", "sigma_max", "sigma_data")
        return {name: getattr(self.config, name) for name in names}

    def _to_device(self, batch: ReferenceSet) -> ReferenceSet:
        return to_tensors(batch, self.device)

    def _losses(self, batch: ReferenceSet) -> tuple[dict[str, Tensor], dict[str, float]]:
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

    def _extra_metrics(self, batch: ReferenceSet) -> dict[str, Tensor]:
        log_ess = log_effective_sample_size(batch.log_probs - batch.log_proposals)
        return {"log_effective_sample_size": log_ess.mean()}

    def _ema_decay(self) -> float:
        return ema_decay_at(self.config, self.num_updates)


def to_tensors(reference_set: ReferenceSet, device: torch.device) -> ReferenceSet:
    """Returns the set with float32 torch tensors on a device, without a copy where none is needed."""
    return reference_set.map_arrays(lambda a: torch.as_tensor(a, dtype=torch.float32, device=device))
