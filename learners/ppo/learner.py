"""RLlib's PPO learner with a consistency policy."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor, nn

from distill_rl.policies.actor_critic_module import NETWORK_INPUTS, ActorCriticModule
from learners.ppo.advantages import advantage_weights
from learners.ppo.config import ConsistencyPPOConfig
from learners.ppo.consistency_loss import weighted_consistency_loss
from learners.ppo.diagnostics import mean_statistics, ratio_statistics

NUM_UPDATES_LIFETIME = "num_updates_lifetime"
NUM_SKIPPED_UPDATES_LIFETIME = "num_skipped_updates_lifetime"
NUM_ROLLBACKS_LIFETIME = "num_rollbacks_lifetime"

_MOST_BROKEN_ITERATIONS = 10
"""Iterations in a row without a good update: then it is not the weights."""

_WEIGHTS = "consistency_weights"
_NOT_POLICY = ("value", "vf", "critic")


class DiagnosedPPOLearner(PPOTorchLearner):
    """RLlib's PPO learner that tells how far its updates went.

    Beside RLlib's metrics there are those of `ratio_statistics` and `policy_gradient_norm`, the norm of the
    policy's gradient before it is clipped: means over the last epoch of an iteration.
    """

    def build(self) -> None:
        """Builds the learner."""
        super().build()
        if self.config.num_learners == 0 and self._device.type == "cpu":
            # Small matrices on many threads are slower, the more so beside actors on the same machine.
            torch.set_num_threads(max(1, int(self.config.num_cpus_for_main_process)))
        self._statistics: list[dict[str, Tensor]] = []

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Returns PPO's loss, and keeps statistics of the ratios."""
        module = self.module[module_id].unwrapped()
        distribution = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        log_ratio = distribution.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP]
        self._statistics.append(ratio_statistics(log_ratio.detach()[_valid(batch)], config.clip_param))
        loss: Tensor = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        return loss

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any = None, module_gradients_dict: dict[Any, Any]
    ) -> dict[Any, Any]:
        """Keeps the norm of the policy's gradient, then clips."""
        parameters = self.module[module_id].unwrapped().named_parameters()
        own = [p for name, p in parameters if not any(word in name for word in _NOT_POLICY)]
        gradients = [module_gradients_dict.get(self.get_param_ref(p)) for p in own]
        squares = [gradient.square().sum() for gradient in gradients if gradient is not None]
        self._statistics[-1]["policy_gradient_norm"] = torch.stack(squares).sum().sqrt()
        clipped: dict[Any, Any] = super().postprocess_gradients_for_module(
            module_id=module_id, config=config, module_gradients_dict=module_gradients_dict
        )
        return clipped

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Reports the statistics of the last epoch."""
        super().after_gradient_based_update(timesteps=timesteps)
        last_epoch = self._statistics[-max(1, len(self._statistics) // self.config.num_epochs) :]
        for module_id in self.module.keys():  # noqa: SIM118 (a MultiRLModule does not iterate over its ids)
            self.metrics.log_dict(mean_statistics(last_epoch), key=module_id, window=1)
            self.metrics.log_value(
                (module_id, NUM_UPDATES_LIFETIME), len(self._statistics), reduce="lifetime_sum"
            )
        self._statistics = []


class CMPPOLearner(DiagnosedPPOLearner):
    """PPO's learner whose loss has an advantage-weighted consistency loss in it.

    An update whose loss or gradient is not finite is skipped before it touches the weights. Where the last
    epoch of an iteration had no other, or the policy would not act or value states finitely, the weights are
    taken to be the cause, and the last ones that gave a finite loss at the start of an iteration come back
    before anybody acts with them. When ten iterations in a row had no good update, training ends.
    """

    def build(self) -> None:
        """Builds the learner; likelihoods under the old policy are added to every batch."""
        super().build()
        self._settings: ConsistencyPPOConfig = self.config.consistency_settings
        # RLlib gives all learners the same seed; their noise has to differ.
        entropy = np.random.SeedSequence().entropy if self.config.seed is None else self.config.seed
        seed = int(np.random.SeedSequence([entropy, self._learner_index]).generate_state(1)[0])
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._coeff = 0.0
        self._broken = ""
        self._num_skipped = self._num_skipped_last = self._num_broken_iterations = 0
        self._last_good: list[tuple[Any, dict[str, Any]]] = []
        self._learner_connector.append(_PrepareBatch(self._prepare))

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Sets the weight of the consistency loss for this iteration."""
        super().before_gradient_based_update(timesteps=timesteps)
        num_env_steps = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
        self._coeff = self._settings.consistency_coeff_at(num_env_steps)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Returns `L_PPO + coeff(t) mean w(A) L_consistency`."""
        loss = super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )
        if self._coeff == 0.0:
            return loss
        valid = _valid(batch)
        policy = self.module[module_id].unwrapped().networks.policy
        actions = batch[Columns.ACTIONS][valid].clamp(-1.0, 1.0)
        if self._settings.coupling == "generating":
            noise = batch[NETWORK_INPUTS][valid][:, 0] / policy.sigma_max
        else:
            noise = torch.randn(actions.shape, generator=self._generator, device=actions.device)
        consistency_loss = weighted_consistency_loss(
            policy,
            batch[Columns.OBS][valid].to(torch.float32),
            actions,
            batch[_WEIGHTS][valid],
            noise,
            num_noise_levels=self._settings.num_noise_levels,
            generator=self._generator,
        )
        self._statistics[-1]["consistency_loss"] = consistency_loss.detach()
        return loss + self._coeff * consistency_loss

    def compute_gradients(self, loss_per_module: dict[str, Tensor], **kwargs: Any) -> dict[Any, Any]:
        """Returns the gradients, and notes what of loss and gradients is not finite."""
        gradients: dict[Any, Any] = super().compute_gradients(loss_per_module, **kwargs)
        loss = torch.stack([loss.detach() for loss in loss_per_module.values()]).sum()
        self._average(loss)  # gradients are averaged already
        norm = nn.utils.get_total_norm([grad for grad in gradients.values() if grad is not None])
        scalars = {"loss": float(loss), "norm of the gradient": float(norm)}
        self._broken = next((name for name, value in scalars.items() if not math.isfinite(value)), "")
        return gradients

    def apply_gradients(self, gradients_dict: dict[Any, Any]) -> None:
        """Steps, or skips the update if its loss or gradient is not finite."""
        if self._broken:
            self._statistics.pop()
            self._num_skipped += 1
            self._num_skipped_last += 1
            return
        if len(self._statistics) == 1:
            # Of the iteration's weights those before its first good step are known to be good.
            self._last_good = [(part, copy.deepcopy(part.state_dict())) for part in self._parts()]
        self._num_skipped_last = 0
        super().apply_gradients(gradients_dict)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state; weights of before do not come back after it."""
        super().set_state(state)
        self._last_good = []

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Reports, and lets the normaliser of observations count the batch that was learned from.

        Raises:
          ValueError: if no update of the last ten iterations was good.
        """
        num_updates = len(self._statistics)
        num_rollbacks = self._restore_if_broken()
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id in self.module.keys():  # noqa: SIM118 (see above)
            for name, count in (
                (NUM_SKIPPED_UPDATES_LIFETIME, self._num_skipped),
                (NUM_ROLLBACKS_LIFETIME, num_rollbacks),
            ):
                self.metrics.log_value((module_id, name), count, reduce="lifetime_sum")
        self._num_skipped = self._num_skipped_last = 0
        self._num_broken_iterations = 0 if num_updates else self._num_broken_iterations + 1
        if self._num_broken_iterations == _MOST_BROKEN_ITERATIONS:
            raise ValueError(
                f"the {self._broken} must be finite, got NaN or infinity in every update of the last "
                f"{_MOST_BROKEN_ITERATIONS} iterations; rewards and observations must be finite, and "
                "learning rates small enough"
            )
        for module_id, observation in self._observations.items():
            # Only now: until here old and new likelihoods must see observations alike.
            normalizer = self.module[module_id].unwrapped().networks.policy.normalizer
            normalizer.update(observation)
            second_moment = normalizer.var + normalizer.mean.square()
            self._average(normalizer.mean, second_moment, normalizer.count)
            # Rounding can take the variance of what never changes below zero, where it has no root.
            normalizer.var.copy_((second_moment - normalizer.mean.square()).clamp_min(0.0))
            self.metrics.log_value((module_id, "consistency_coeff"), self._coeff, window=1)

    @torch.no_grad()
    def _prepare(self, batch: dict[str, dict[str, Tensor]]) -> None:
        """Adds to a train batch what has to be known under the old policy, and scales value targets."""
        self._observations: dict[str, Tensor] = {}
        for module_id, columns in batch.items():
            module = self.module[module_id].unwrapped()
            assert isinstance(module, ActorCriticModule)
            valid = _valid(columns)
            self._observations[module_id] = columns[Columns.OBS][valid].to(torch.float32)
            columns |= module.draw_loss_noise(len(valid), self._generator)
            columns[Columns.ACTION_LOGP] = module.log_prob(columns)
            columns[Columns.ACTION_DIST_INPUTS] = columns[Columns.ACTION_LOGP].unsqueeze(-1)
            weights = torch.zeros_like(columns[Postprocessing.ADVANTAGES])
            weights[valid] = advantage_weights(
                columns[Postprocessing.ADVANTAGES][valid], self._settings.weights, self._settings.weight_kl
            )
            columns[_WEIGHTS] = weights
            targets = columns[Postprocessing.VALUE_TARGETS]
            mean, square_mean = targets[valid].mean(), targets[valid].square().mean()
            self._average(mean, square_mean)
            module.networks.update_value_scale(mean, square_mean)
            columns[Postprocessing.VALUE_TARGETS] = module.networks.scale_targets(targets)

    def _restore_if_broken(self) -> int:
        """Restores the last good weights if the ones at hand are no good; returns how often, 0 or 1."""
        num_tried = len(self._statistics) + self._num_skipped
        has_good_epoch = self._num_skipped_last * self.config.num_epochs < num_tried
        if not self._last_good or (has_good_epoch and self._acts_finitely()):
            return 0
        for part, state in self._last_good:
            part.load_state_dict(copy.deepcopy(state))
        return 1

    @torch.no_grad()
    def _acts_finitely(self) -> bool:
        """Returns whether weights are finite, and what they do and predict in the states of the batch."""
        num_broken = torch.zeros((), device=self._device)
        for module_id, observation in self._observations.items():
            module, seen = self.module[module_id].unwrapped(), observation.nan_to_num()
            with torch.random.fork_rng(devices=[]):  # a check must not change what is drawn later
                actions = module.forward_exploration({Columns.OBS: seen})[Columns.ACTIONS]
            for tensor in (*module.parameters(), actions, module.networks.value(seen)):
                num_broken += (~tensor.isfinite()).sum()
        self._average(num_broken)
        return not num_broken

    def _parts(self) -> list[Any]:
        """Returns what has weights or moments."""
        modules = [self.module[key].unwrapped() for key in self.module.keys()]  # noqa: SIM118 (see above)
        return [*modules, *self._named_optimizers.values()]

    def _average(self, *tensors: Tensor) -> None:
        """Averages tensors in place over the learners, whose networks have to stay the same."""
        if self.distributed:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)
                tensor /= self.config.num_learners


class _PrepareBatch(ConnectorV2):
    """Hands every finished train batch to a function."""

    def __init__(self, prepare_fn: Callable[[dict[str, dict[str, Tensor]]], None]):
        super().__init__()
        self._prepare_fn = prepare_fn

    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        self._prepare_fn(batch)
        return batch


def _valid(batch: dict[str, Any]) -> Tensor:
    """Returns which rows are steps that were taken: RLlib adds one to each episode. Shape `[M]`, bool."""
    if Columns.LOSS_MASK in batch:
        return batch[Columns.LOSS_MASK]
    return torch.ones(len(batch[Columns.OBS]), dtype=torch.bool, device=batch[Columns.OBS].device)
