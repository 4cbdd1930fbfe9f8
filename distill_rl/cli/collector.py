"""What to collect, and how a dataset is made once."""

import abc
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from actors.operators.registry import PLANNERS
from distill_rl.checks import check_at_least_one, check_choice, check_positive
from distill_rl.cli.progress import ProgressLine
from distill_rl.datasets.minari_format import check_minari_id
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.scores import REFERENCE_SCORES
from distill_rl.datasets.store import dataset_path, load_dataset, save_dataset
from distill_rl.envs.maze2d import ENV_IDS

ALL = "all"
KINDS = ("random", "medium-replay", "medium", "expert", "medium-expert", "full-replay")

POLICY_KINDS = ("random", "expert")
"""What there is of a policy that is not trained here, and of a planner."""

MAZES = "maze2d"
"""What stands in the place of a preset for the mazes."""

MAZE_KINDS = tuple(ENV_IDS)


@dataclasses.dataclass(frozen=True)
class CollectSettings:
    """What to collect.

    Attributes:
      preset: name or file of a preset, or `maze2d`.
      kinds: of `KINDS`, of `POLICY_KINDS` with a `policy_path` or a `planner`, or of `MAZE_KINDS` for mazes;
        `all` stands for all of them.
      overrides: `section.key=value` each, of the training or the planner.
      num_steps: steps of each set but the replays, in whole episodes.
      training_steps: environment steps of the training; None for the preset's `run.max_env_steps`.
      evaluation_steps: about every so many of them the policy is evaluated, and may become the medium one.
      num_evaluation_episodes: of each evaluation.
      noise_scale: standard deviation of the truncated normal distribution about the policy's zero-noise
        action, or the planner's, that medium and expert act with; actions span [-1, 1].
      seed: of everything random.
      prefix: datasets are called PREFIX-TASK-KIND.
      minari_prefix: Minari datasets are called PREFIX/TASK/KIND-v0; None writes none.
      overwrite: whether datasets of these names that came about in another way are replaced.
      policy_path: run folder, checkpoint or policy folder of the expert, in place of a training.
      planner: of `PLANNERS`, the expert in place of a training. Without either there is a training.
    """

    preset: str
    kinds: tuple[str, ...] = (ALL,)
    overrides: tuple[str, ...] = ()
    num_steps: int = 50_000
    training_steps: int | None = None
    evaluation_steps: int = 2_000
    num_evaluation_episodes: int = 10
    noise_scale: float = 0.05
    seed: int = 0
    prefix: str = "own"
    minari_prefix: str | None = None
    overwrite: bool = False
    policy_path: Path | None = None
    planner: str | None = None

    def __post_init__(self) -> None:
        """Checks what can be wrong without a look at the environment.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        for name in ("num_steps", "evaluation_steps", "num_evaluation_episodes"):
            check_at_least_one(name, getattr(self, name))
        check_positive("noise_scale", self.noise_scale)
        option = self.expert_option
        if self.planner is not None:
            check_choice("--planner", self.planner, PLANNERS)
            if self.policy_path is not None:
                raise ValueError(f"`--from` must be left out with --planner, got {str(self.policy_path)!r}")
        if self.preset == MAZES and option is not None:
            expert = str(self.policy_path or self.planner)
            raise ValueError(f"`{option}` must be left out for mazes, got {expert!r}")
        for kind in self.kinds:
            check_choice("kind" if option is None else f"kind with {option}", kind, (ALL, *self.all_kinds))
        if self.preset == MAZES and self.overrides:
            raise ValueError(f"overrides are of a training, and mazes have none; got {list(self.overrides)}")
        if option is not None and self.training_steps is not None:
            raise ValueError(
                f"`--training-steps` must be left out with {option}, which trains nothing, "
                f"got {self.training_steps}"
            )

    @property
    def expert_option(self) -> str | None:
        """The option that names an expert, in place of a training; None with a training."""
        if self.planner is not None:
            return "--planner"
        return None if self.policy_path is None else "--from"

    @property
    def all_kinds(self) -> tuple[str, ...]:
        """Every kind that can be made."""
        if self.expert_option is not None:
            return POLICY_KINDS
        return MAZE_KINDS if self.preset == MAZES else KINDS

    def seed_of(self, kind: str) -> int:
        """Returns the seed of a kind: another one for each."""
        sequence = np.random.SeedSequence([self.seed, self.all_kinds.index(kind)])
        return int(sequence.generate_state(1)[0])


class Collector(abc.ABC):
    """Makes the datasets of one task, each once.

    Attributes:
      settings: what to collect.
      task: the middle part of the datasets' names.
      version: of D4RL's datasets that these stand beside.
      progress: where it shows.
    """

    version = "v2"

    def __init__(self, settings: CollectSettings, task: str, progress: ProgressLine):
        """Names the task.

        Raises:
          ValueError: if the names are none that Minari takes.
        """
        self.settings, self.task, self.progress = settings, task, progress
        if settings.minari_prefix is not None:
            for kind in settings.all_kinds:
                check_minari_id("--minari-id PREFIX/TASK/KIND-v0", self.minari_id(kind))

    def get(self, kind: str) -> Path:
        """Returns the folder of a dataset, which is made unless it is there already.

        Raises:
          ValueError: if something else has its name.
        """
        path = dataset_path(self.name_of(kind))
        recipe = self.recipe(kind)
        if path.exists():
            if load_dataset(path).metadata.get("recipe") == recipe:
                self.progress.note(f"{path.name}: already there")
                return path
            if not self.settings.overwrite:
                raise ValueError(
                    f"`{path}` came about in another way; it is replaced with --overwrite, or choose another "
                    "--prefix"
                )
        dataset = self.make(kind)
        metadata = dataset.metadata | self._identity(kind) | {"recipe": recipe}
        save_dataset(dataclasses.replace(dataset, metadata=metadata), path, self.settings.overwrite)
        returns = dataset.episode_returns()
        self.progress.note(f"{path.name}: {len(dataset):,} steps, mean return {returns.mean():.1f}")
        return path

    def name_of(self, kind: str) -> str:
        """Returns the name of a dataset."""
        return f"{self.settings.prefix}-{self.task}-{kind}"

    def minari_id(self, kind: str) -> str:
        """Returns the id of a Minari dataset."""
        return f"{self.settings.minari_prefix}/{self.task}/{kind}-v0"

    @abc.abstractmethod
    def recipe(self, kind: str) -> dict[str, Any]:
        """Returns all that a dataset depends on, as plain JSON values."""

    @abc.abstractmethod
    def make(self, kind: str) -> OfflineDataset:
        """Makes a dataset, with its source among the metadata."""

    def _identity(self, kind: str) -> dict[str, Any]:
        """Returns the metadata that say which dataset it is, and which of D4RL's it stands beside."""
        identity = {"name": self.name_of(kind), "kind": kind, "seed": self.settings.seed}
        reference = f"{self.task}-{kind}-{self.version}"
        return identity | ({"reference": reference} if reference in REFERENCE_SCORES else {})
