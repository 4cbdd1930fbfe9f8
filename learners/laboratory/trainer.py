"""Trains one loss on every instance and seed of an experiment at once."""

import torch
from torch import Tensor

from distill_rl.policies.consistency import ConsistencyPolicy
from learners.config import DistillationConfig
from learners.laboratory.ding_jin import DingJinDenoiser
from learners.laboratory.ensemble import Ensemble
from learners.laboratory.experiment import Experiment, ReferenceSource
from learners.objectives import ema_decay_at, make_objective


class LaboratoryTrainer:
    """An ensemble, a loss and their optimiser.

    Of the configuration only what concerns the loss counts: objective, posterior, their settings, noise
    levels, learning rate and averaging. Members see the same data and start from the same weights under
    every loss.

    Attributes:
      source: draws targets and reference sets.
      online: the ensemble that learns.
      average: its exponential average: the target of consistency losses, and what is evaluated.
      num_updates: gradient steps taken.
    """

    def __init__(
        self,
        experiment: Experiment,
        config: DistillationConfig,
        device: str | torch.device = "cpu",
        is_compiled: bool = False,
    ):
        """Builds the ensemble.

        Args:
          experiment: targets and data.
          config: the loss.
          device: where everything lives.
          is_compiled: whether updates call compiled networks. That takes half a minute before the first one
            and pays where an operation costs more to start than to do, as on a GPU.
        """
        self._config = config
        self.source = ReferenceSource(experiment, device)
        network = DingJinDenoiser if experiment.network == "ding_jin" else ConsistencyPolicy
        self.online = Ensemble(
            lambda: network(
                experiment.observation_size,
                experiment.action_size,
                sigma_min=config.sigma_min,
                sigma_max=config.sigma_max,
                sigma_data=config.sigma_data,
            ),
            experiment.num_members,
            sigma_min=config.sigma_min,
            sigma_max=config.sigma_max,
            seed=experiment.seed,
            device=device,
        )
        self.average = self.online.averaged_copy()
        # Evaluations come in other shapes, and transform what they call.
        self._policy = self.online.compiled() if is_compiled else self.online
        self._target = self.average.compiled() if is_compiled else self.average
        self.num_updates = 0
        self._parameters = list(self.online.parameters.values())
        self._averages = list(self.average.parameters.values())
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate, fused=True)
        self._data_generator = torch.Generator(device).manual_seed(experiment.seed + 1)
        self._noise_generator = torch.Generator(device).manual_seed(experiment.seed + 2)

    def update(self) -> Tensor:
        """Takes a gradient step with every member.

        Returns:
          The mean loss, on the device. Shape `[]`.
        """
        targets, batch = self.source.draw(self._data_generator)
        objective = make_objective(self._config, targets, low=0.0, high=1.0)
        self._optimizer.zero_grad(set_to_none=True)
        loss = objective(
            self._policy, self._target, batch, update=self.num_updates, generator=self._noise_generator
        )
        # The sum over members: each learns as if it were alone.
        (self.online.num_members * loss).backward()
        self._optimizer.step()
        decay_complement = 1.0 - ema_decay_at(self._config, self.num_updates)
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._parameters, decay_complement)
        self.num_updates += 1
        return loss.detach()
