"""RLlib's learner around a plain `NetworkTrainer`."""

from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_TRAINED, NUM_ENV_STEPS_TRAINED_LIFETIME

from learners.network_trainer import NetworkTrainer

TRAINER = "trainer"
"""Name of the trainer's state in that of a learner."""


def on_cpu(state: Any) -> Any:
    """Returns a state with its tensors in main memory, so that machines without a GPU can load it.

    Args:
      state: tensors and anything else, in dictionaries, lists and tuples.
    """
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {name: on_cpu(part) for name, part in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(on_cpu(part) for part in state)
    return state


class NetworkLearner(TorchLearner):
    """Owns a trainer, whose averaged networks are those of the module that RLlib sees.

    The optimiser moves another copy inside the trainer. With several learners each draws its share of a batch
    with noise of its own, and gradients are averaged before the check for finite values, so that all ranks
    take the same step. Hence RLlib's own wrapping of modules is left out. Subclasses say what the trainer is
    and what an update learns from.

    Attributes:
      trainer: the gradient step: a `NetworkTrainer`, or several in turn.
    """

    trainer: Any

    def build(self) -> None:
        """Builds the module and the trainer; all learners start from the same weights."""
        super().build()
        if self.config.num_learners == 0 and self._device.type == "cpu":
            # Small matrices on many threads are slower, the more so beside actors on the same machine.
            torch.set_num_threads(max(1, int(self.config.num_cpus_for_main_process)))
        self._rank = self._learner_index
        self._num_ranks = max(1, self.config.num_learners)
        self._entropy = np.random.SeedSequence().entropy if self.config.seed is None else self.config.seed
        draws_seed, trainer_seed = self._seeds()
        self._generator = np.random.default_rng(draws_seed)
        module = self.module[DEFAULT_MODULE_ID]
        average_fn = self._average if self.distributed else None
        self.trainer = self._make_trainer(module.networks, trainer_seed, average_fn)
        if self.distributed:
            self._start_alike()
        module.networks = self.trainer.ema

    def _make_trainer(self, networks: Any, seed: int, average_fn: Any) -> Any:
        """Builds the trainer.

        Args:
          networks: those of the module, for their sizes.
          seed: of this learner.
          average_fn: averages tensors in place over the learners; None for a single one.
        """
        raise NotImplementedError

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns RLlib's state and the trainer's."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(TRAINER, components, not_components):
            state[TRAINER] = on_cpu(self.trainer.get_state())
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state. Weights always apply: RLlib would keep its own against older ones."""
        self._weights_seq_no = 0
        super().set_state(state)
        if TRAINER in state:
            self.trainer.set_state(state[TRAINER])
            if self._rank > 0:  # RLlib saves the first learner's draws, which the others must not repeat
                self.trainer.reseed(self._seeds(self.trainer.num_updates)[1])
        self._weights_seq_no = self.trainer.num_updates

    def _seeds(self, num_updates: int = 0) -> list[int]:
        """Returns seeds for numpy's and torch's draws, which no other learner has, nor this one later."""
        seeds: list[int] = (
            np.random.SeedSequence([self._entropy, self._rank, num_updates]).generate_state(2).tolist()
        )
        return seeds

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Registers nothing: the trainer owns its optimiser."""

    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        """Refuses: the losses are the trainer's."""
        raise NotImplementedError(f"{type(self).__name__} makes updates through its trainer")

    def _make_modules_ddp_if_necessary(self) -> None:
        pass  # gradients are averaged by `_average`

    def _log(self, metrics: dict[str, float], window: int = 1) -> None:
        # The counters among them are in the report.
        losses = {name: value for name, value in metrics.items() if not name.startswith("num_")}
        self.metrics.log_dict(losses, key=DEFAULT_MODULE_ID, window=window)

    def _log_steps(self, num_steps: int) -> None:
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), num_steps, reduce="sum")
        self.metrics.log_value(
            (ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), num_steps, reduce="lifetime_sum"
        )

    def _average(self, tensors: list[torch.Tensor]) -> None:
        """Averages tensors over the learners, in place, by one message."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self._num_ranks
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))

    def _start_alike(self) -> None:
        share_weights(self.trainer)


def share_weights(trainer: NetworkTrainer[Any]) -> None:
    """Gives every learner of a group the weights of the first one's trainer. All of them must call it."""
    state = trainer.get_state()
    for networks in (state["online"], state["ema"]):
        for tensor in networks.values():
            torch.distributed.broadcast(tensor, src=0)
    trainer.set_state(state)
