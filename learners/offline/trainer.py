"""The gradient step of offline learning: transitions in, better weights out. No Ray."""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill_rl.policies.offline_networks import OfflineNetworks
from learners.objectives.endpoint import EndpointObjective
from learners.offline.behaviour import BehaviourLoss, diffusion_loss, make_behaviour_loss
from learners.offline.config import LearningConfig
from learners.offline.transitions import TransitionBatch
from learners.offline.values import (
    ascend_values,
    behaviour_candidates,
    critic_loss,
    critic_reference_set,
    policy_gradient_loss,
    temporal_difference_targets,
)
from learners.policy_trainer import PolicyTrainer

_NUM_REFERENCE_NOISES = 2


class OfflineTrainer(PolicyTrainer[TransitionBatch, LearningConfig]):
    """Takes gradient steps on batches of transitions; see `PolicyTrainer`.

    Every loss is computed with the weights before the step, and all networks step together.

    Metrics are `behaviour_loss`; with a critic also `critic_loss`, `q_value` (mean of its targets), and
    `q_loss` (improvement by gradient) or `policy_loss` (by reference sets, where `behaviour_loss` is that of
    the model of the data, and `backup_loss` that of the policy that bootstraps, if it is another).
    """

    _q_value: Tensor

    @functools.cached_property
    def _behaviour_loss(self) -> BehaviourLoss:
        return make_behaviour_loss(self.config)

    @functools.cached_property
    def _reference_objective(self) -> EndpointObjective:
        return EndpointObjective(
            num_noises=_NUM_REFERENCE_NOISES,
            num_ode_steps=self.config.num_ode_steps,
            zero_noise_fraction=self.config.zero_noise_fraction,
        )

    def update(self, batch: TransitionBatch) -> dict[str, float]:
        """Takes one gradient step on a batch, at the step size of its schedule; see `NetworkTrainer`."""
        if self.config.learning_rate_decay_updates is not None:
            self.decay_learning_rate(self.config.learning_rate_decay_updates)
        return super().update(batch)

    def add_statistics(self, observation: np.ndarray) -> None:
        """Merges observations into the mean and variance by which they are normalised. Shape `[B, O]`."""
        seen = torch.as_tensor(observation, dtype=torch.float32, device=self.device)
        for network in self.online.children():
            network.normalizer.update(seen)

    def start_from(self, state: dict[str, Any]) -> None:
        """Goes on from what another trainer of the same networks learned, at this one's step sizes.

        Args:
          state: what `get_state` of the other returned.

        Raises:
          ValueError: if the networks differ, or it is the state of a trainer of another kind.
        """
        if "online" not in state:
            raise ValueError(f"`state` must be that of a trainer of single actions, got {sorted(state)}")
        try:
            self._load_weights(state)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"the networks of the checkpoint must be those configured, got {error}"
            ) from error
        for group, learning_rate in zip(self._optimizer.param_groups, self._learning_rates, strict=True):
            group["lr"] = learning_rate
        self.num_updates = int(state["num_updates"])
        self._last_good = self._copy_weights()

    def _make_networks(self) -> Any:
        return OfflineNetworks(*self._sizes, **network_settings(self.config))

    def _parameter_groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = [{"params": list(self.online.policy.parameters())}]
        for network in (self.online.backup_policy, self.online.behaviour):
            if network is not None:
                groups.append({"params": list(network.parameters())})
        if self.online.critic is not None:
            rate = self.config.critic_learning_rate
            groups.append({"params": list(self.online.critic.parameters()), "lr": rate})
        return groups

    def _losses(self, batch: TransitionBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        if self.config.improvement == "none":
            losses = {"behaviour_loss": self._clone(batch)}
        elif self.config.improvement == "gradient":
            losses = {
                "behaviour_loss": self._clone(batch),
                "q_loss": self._climb(batch),
                "critic_loss": self._evaluate(batch),
            }
        else:
            losses = {
                "behaviour_loss": self._model(batch),
                **self._distil(batch),
                "critic_loss": self._evaluate(batch),
            }
        return losses, dict.fromkeys(losses, 1.0) | {"q_loss": self.config.q_weight}

    def _clone(self, batch: TransitionBatch) -> Tensor:
        return self._behaviour_loss(
            self.online.policy, self.ema.policy, batch, update=self.num_updates, generator=self._generator
        )

    def _model(self, batch: TransitionBatch) -> Tensor:
        return diffusion_loss(
            self.online.behaviour,
            self.ema.behaviour,
            batch,
            update=self.num_updates,
            generator=self._generator,
        )

    def _climb(self, batch: TransitionBatch) -> Tensor:
        """Returns the loss of the policy's own actions under the critic, which it leaves as it is."""
        critic = self.online.critic
        actions = self.online.policy.sample(
            batch.observation, self.config.num_sampling_steps, generator=self._generator
        )
        critic.requires_grad_(False)
        q_values = critic(batch.observation, actions)
        critic.requires_grad_(True)
        return policy_gradient_loss(q_values, self._generator)

    def _distil(self, batch: TransitionBatch) -> dict[str, Tensor]:
        """Returns the loss of the policy, and of the one that bootstraps if candidates are moved."""
        config = self.config
        observation = batch.observation[: config.num_reference_states]
        candidates = behaviour_candidates(
            observation,
            batch.action[: config.num_reference_states],
            self.ema.behaviour,
            config.num_references,
            self._generator,
        )
        if self.online.backup_policy is None:
            return {"policy_loss": self._distil_into("policy", observation, candidates)}
        moved = ascend_values(observation, candidates, self.ema.critic, config.ascent_distance)
        return {
            "policy_loss": self._distil_into("policy", observation, moved),
            "backup_loss": self._distil_into("backup_policy", observation, candidates),
        }

    def _distil_into(self, name: str, observation: Tensor, candidates: Tensor) -> Tensor:
        return self._reference_objective(
            getattr(self.online, name),
            getattr(self.ema, name),
            critic_reference_set(observation, candidates, self.ema.critic, self.config.target_kl),
            update=self.num_updates,
            generator=self._generator,
        )

    def _evaluate(self, batch: TransitionBatch) -> Tensor:
        config, averaged = self.config, self.ema
        targets = temporal_difference_targets(
            batch,
            averaged.policy if averaged.backup_policy is None else averaged.backup_policy,
            averaged.critic,
            discount=config.discount,
            num_steps=config.num_sampling_steps,
            num_actions=config.max_q_backup_actions,
            is_normalized=config.normalize_q_targets,
            generator=self._generator,
        )
        self._q_value = targets.mean()
        return critic_loss(self.online.critic, batch, targets)

    def _extra_metrics(self, batch: TransitionBatch) -> dict[str, Tensor]:
        return {"q_value": self._q_value} if self.config.has_critic else {}

    def _clip(self, grad_norm: float) -> None:
        for network in self.online.children():
            nn.utils.clip_grad_norm_(network.parameters(), self.config.grad_clip_norm)

    def _average_weights(self) -> None:
        config = self.config
        for name, network in self.online.named_children():
            averaged = getattr(self.ema, name)
            if name == "critic":
                decay = config.critic_ema_decay
            elif self.num_updates < config.ema_start_updates:
                decay = 0.0
            elif self.num_updates % config.ema_interval_updates == 0:
                decay = config.ema_decay
            else:
                continue
            torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1.0 - decay)


def network_settings(config: LearningConfig) -> dict[str, Any]:
    """Returns the arguments of `OfflineNetworks` that a configuration asks for."""
    shared = {"hidden_sizes": config.hidden_sizes, "backbone": config.backbone}
    own: dict[str, Any] = {}
    if config.policy == "consistency":
        own = {name: getattr(config, name) for name in ("sigma_min", "sigma_max", "sigma_data")}
    elif config.policy == "diffusion":
        own = {"num_diffusion_steps": config.num_sampling_steps}
    behaviour = {"num_diffusion_steps": config.num_behaviour_steps}
    return {
        "kind": config.policy,
        "policy_settings": shared | own,
        "with_critic": config.has_critic,
        "num_critics": config.num_critics,
        "with_backup_policy": config.improvement == "references" and config.ascent_distance > 0.0,
        "behaviour_settings": shared | behaviour if config.improvement == "references" else None,
    }
