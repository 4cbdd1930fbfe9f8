"""The stages of RACTD one after the other, as one trainer. No Ray."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from distill_rl.policies.chunk_networks import REWARD, STUDENT, TEACHER, ChunkNetworks
from learners.network_trainer import NetworkTrainer
from learners.trajectory.chunks import ChunkBatch
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline_config import STAGES, StagesConfig
from learners.trajectory.trainers import RewardTrainer, StudentTrainer, TeacherTrainer

_COUNTERS = ("num_updates", "num_skipped_updates", "num_rollbacks")


class PipelineTrainer:
    """Runs stage after stage, each with a trainer of its own, and holds what they leave.

    Args:
      networks: take the averaged weights of every stage; those that a checkpoint brings are in them already.
      config: what to learn and how.
      stages: which stages, and for how long.
      statistics: mean `[O]`, variance `[O]` and number of the observations, which normalise them. A student
        has those of its teacher.
      seed: of the initial weights and of every later draw.
      device: where the networks live.
      average_fn: averages tensors in place over the learners of a group; None for a single one.
      begin_fn: called with the trainer of every stage before its first update, to make learners start alike.

    Attributes:
      ema: the averaged networks.
      num_updates: gradient steps of all stages so far; likewise `num_skipped_updates` and `num_rollbacks`.

    Raises:
      ValueError: if a stage lacks what it needs.
    """

    def __init__(
        self,
        networks: ChunkNetworks,
        config: TrajectoryConfig,
        stages: StagesConfig,
        statistics: tuple[Any, Any, int],
        seed: int,
        device: str | torch.device = "cpu",
        average_fn: Callable[[list[Tensor]], None] | None = None,
        begin_fn: Callable[[NetworkTrainer[ChunkBatch]], None] | None = None,
    ):
        self.config, self.ema = config, networks.to(device).requires_grad_(False)
        self._schedule = stages.schedule(config)
        self._statistics, self._seed, self._device = statistics, seed, device
        self._average_fn, self._begin_fn = average_fn, begin_fn
        self._finished = dict.fromkeys(_COUNTERS, 0)
        self._index = -1
        self._trainer: NetworkTrainer[ChunkBatch] | None = None
        self._go_to(0)

    @property
    def stage(self) -> str | None:
        """The stage in progress; None after the last one."""
        return self._schedule[self._index][0] if self._index < len(self._schedule) else None

    @property
    def num_updates(self) -> int:
        """Gradient steps taken, of all stages."""
        return self._count("num_updates")

    @property
    def num_skipped_updates(self) -> int:
        """Steps skipped for a non-finite loss or gradient."""
        return self._count("num_skipped_updates")

    @property
    def num_rollbacks(self) -> int:
        """Times the last good weights came back."""
        return self._count("num_rollbacks")

    def update(self, batch: ChunkBatch) -> dict[str, float]:
        """Takes one gradient step of the stage in progress, and goes to the next one after its last.

        Returns:
          Metrics of the step, with the name of the stage before theirs.

        Raises:
          ValueError: if all stages are over.
        """
        if self._trainer is None:
            raise ValueError("`update` must not be called after the last stage")
        stage, num_updates = self._schedule[self._index]
        metrics = self._trainer.update(batch)
        if self._trainer.num_updates >= num_updates:
            self._finished = {name: self._count(name) for name in _COUNTERS}
            self._go_to(self._index + 1)
        return {f"{stage}_{name.removeprefix(stage + '_')}": value for name, value in metrics.items()}

    def get_state(self) -> dict[str, Any]:
        """Returns everything that `set_state` needs to go on with the same draws and weights."""
        return {
            "networks": {name: tensor.clone() for name, tensor in self.ema.state_dict().items()},
            "sigma_data": self.config.sigma_data,
            "stage": self._index,
            "finished": dict(self._finished),
            "trainer": None if self._trainer is None else self._trainer.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state saved by `get_state`.

        Raises:
          RuntimeError: from torch, if the weights are of another architecture.
        """
        self.ema.load_state_dict(state["networks"])
        self._finished = dict(state["finished"])
        self._go_to(state["stage"])
        if self._trainer is not None:
            self._trainer.set_state(state["trainer"])

    def reseed(self, seed: int) -> None:
        """Starts the draws anew."""
        if self._trainer is not None:
            self._trainer.reseed(seed)

    def _count(self, name: str) -> int:
        own: int = 0 if self._trainer is None else getattr(self._trainer, name)
        return self._finished[name] + own

    def _go_to(self, index: int) -> None:
        """Builds the trainer of a stage on what is there; the averages of the one before stay."""
        self._index, self._trainer = index, None
        if self.stage is None:
            return
        self._trainer = self._make_trainer(self.stage)
        if self._begin_fn is not None:
            self._begin_fn(self._trainer)
        self.ema.put(self.stage, self._trainer.ema)

    def _make_trainer(self, stage: str) -> NetworkTrainer[ChunkBatch]:
        sizes = (self.ema.teacher.observation_size, self.ema.teacher.action_size)
        arguments = (*sizes, self.config, self._seed, self._device, self._average_fn)
        reward_model = self.ema.reward_model if self.ema.has(REWARD) else None
        if stage == STUDENT:
            return StudentTrainer(*arguments, teacher=self.ema.teacher.model, reward_model=reward_model)
        trainer = (
            TeacherTrainer(*arguments, reward_model=reward_model)
            if stage == TEACHER
            else RewardTrainer(*arguments)
        )
        trainer.set_statistics(*self._statistics)
        return trainer


def chunk_network_settings(config: TrajectoryConfig) -> dict[str, Any]:
    """Returns the arguments of `ChunkNetworks` that a configuration asks for."""
    levels = {name: getattr(config, name) for name in ("sigma_min", "sigma_max", "sigma_data")}
    return {
        "policy_settings": {"horizon": config.num_steps, **config.unet_settings, **levels},
        "reward_hidden_sizes": config.reward_hidden_sizes,
    }


def adopt(networks: ChunkNetworks, part: str, state: Mapping[str, Any], source: str) -> None:
    """Takes the teacher or the reward model from the state of another pipeline.

    Args:
      networks: take it.
      part: `teacher` or `reward`.
      state: what `PipelineTrainer.get_state` returned.
      source: where the state comes from, for messages.

    Raises:
      ValueError: if the state is of something else, its sizes or scalings are others, or that stage had not
        begun in it.
    """
    if not isinstance(state.get("networks"), Mapping) or "is_begun" not in state["networks"]:
        raise ValueError(f"`{source}` must hold the checkpoint of an RACTD run, got one of another algorithm")
    prefix = "reward_model." if part == REWARD else f"{part}.model."
    held = {
        name.removeprefix(prefix): tensor
        for name, tensor in state["networks"].items()
        if name.startswith(prefix)
    }
    if not bool(state["networks"]["is_begun"][STAGES.index(part)]):
        raise ValueError(f"`{source}` must hold a {part} to go on from, got a run that has not trained one")
    network = networks.part(part)
    found, wanted = (
        {name: list(tensor.shape) for name, tensor in weights.items()}
        for weights in (held, network.state_dict())
    )
    if differing := [name for name in wanted | found if found.get(name) != wanted.get(name)]:
        name = differing[0]
        raise ValueError(
            f"`{source}` must hold a {part} of the sizes configured, got other shapes in {len(differing)} of "
            f"its weights: {name} has {found.get(name)}, not {wanted.get(name)}"
        )
    sigma_data = networks.teacher.sigma_data
    if part == TEACHER and state.get("sigma_data", sigma_data) != sigma_data:
        raise ValueError(
            f"`{source}` must hold a teacher of sigma_data = {sigma_data}, got {state['sigma_data']}"
        )
    network.load_state_dict(held)
    networks.put(part, network)
