"""The configuration of `RACTD`: teacher, reward model and student of action sequences."""

from pathlib import Path
from typing import Any, Self

from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from distill_rl.algorithms.initial_checkpoint import read_trainer_state
from distill_rl.algorithms.offline_config import OfflineConfig
from distill_rl.datasets.store import load_dataset
from distill_rl.policies.chunk_networks import REWARD, STUDENT, TEACHER, ChunkNetworks
from distill_rl.policies.rl_module import ChunkModule
from learners.chunk_learner import ChunkLearner
from learners.offline.config import DatasetConfig
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline import adopt, chunk_network_settings
from learners.trajectory.pipeline_config import ChunkActingConfig, StagesConfig


class RACTDConfig(OfflineConfig):
    """Configures `RACTD`: reward-aware consistency trajectory distillation (Duan et al., 2025).

    Beside RLlib's own sections there are four of ours; each takes the fields of a frozen dataclass as keyword
    arguments, and refuses every other name:

    * `dataset`: `DatasetConfig`, what is learned from, its rewards as they are;
    * `learning`: `TrajectoryConfig`, networks, noise levels, losses and their weights;
    * `stages`: `StagesConfig`, which of the stages are run, for how long, and what earlier runs left;
    * `acting`: `ChunkActingConfig`, how teacher and student act.

        config = (
            RACTDConfig()
            .environment("Hopper-v5")
            .dataset(name="hopper-medium-replay-v2")
            .learning(discount=0.997, reward_weight=1.0)
            .stages(stages=("student",), teacher_checkpoint="runs/a", reward_checkpoint="runs/b")
        )
        algorithm = config.build_algo()

    RLlib's own evaluation plans at every step.
    """

    sections = {
        "dataset": (DatasetConfig,),
        "learning": (TrajectoryConfig,),
        "stages": (StagesConfig,),
        "acting": (ChunkActingConfig,),
    }

    def stages(self, **options: Any) -> Self:
        """Sets fields of `StagesConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("stages", options)

    def acting(self, **options: Any) -> Self:
        """Sets fields of `ChunkActingConfig`.

        Raises:
          ValueError: for an unknown name (naming the nearest one), a wrong type, or a value out of range.
        """
        return self._set_options("acting", options)

    def validate(self) -> None:
        """Checks every option and what they are together.

        Raises:
          ValueError: naming the option, what was expected and what came.
        """
        super().validate()
        learning, acting = self.part(TrajectoryConfig), self.part(ChunkActingConfig)
        self.part(StagesConfig).schedule(learning)
        if acting.exec_horizon > learning.num_steps:
            raise ValueError(
                f"`acting.exec_horizon` must be at most learning.num_steps = {learning.num_steps}, "
                f"got {acting.exec_horizon}"
            )
        if acting.exec_horizon > 1 and self.evaluation_interval:
            raise ValueError(
                "`evaluation_interval` must be None with acting.exec_horizon above 1, since RLlib's own "
                f"evaluation plans at every step; got {self.evaluation_interval}"
            )
        transform = self.part(DatasetConfig).reward_transform
        if transform != "none":
            raise ValueError(f"`dataset.reward_transform` must be none for RACTD, got {transform!r}")

    def check_env(self) -> None:
        """Checks the environment, and that the checkpoints hold what is asked of them.

        Raises:
          ValueError: if the sizes of the environment are not the dataset's, or there is no such teacher or
            reward model.
        """
        super().check_env()
        stages = self.part(StagesConfig)
        if stages.teacher_checkpoint is not None or stages.reward_checkpoint is not None:
            dataset = load_dataset(self.part(DatasetConfig).name)
            sizes = dataset.observations.shape[1], dataset.actions.shape[1]
            self.adopt_parts(ChunkNetworks(*sizes, **chunk_network_settings(self.part(TrajectoryConfig))))

    def resume_from(self, checkpoint: Path) -> None:
        """Takes teacher and reward model from the run's own checkpoint, where they came from another run."""
        stages = self.part(StagesConfig)
        names = ("teacher_checkpoint", "reward_checkpoint")
        self.stages(**{name: str(checkpoint) for name in names if getattr(stages, name) is not None})

    def adopt_parts(self, networks: ChunkNetworks) -> None:
        """Puts what the checkpoints hold into networks.

        Raises:
          ValueError: if there is no such teacher or reward model, or it is of other sizes.
        """
        stages = self.part(StagesConfig)
        for part, path in ((TEACHER, stages.teacher_checkpoint), (REWARD, stages.reward_checkpoint)):
            if path is not None:
                adopt(networks, part, read_trainer_state(path), path)

    @property
    def batch_size(self) -> int:
        """Steps of the dataset in an update."""
        return self.part(TrajectoryConfig).batch_size

    @property
    def updates_per_iteration(self) -> int:
        """Updates between two results."""
        return self.part(StagesConfig).updates_per_iteration

    @property
    def acting_part(self) -> str | None:
        """What the run learns to act with: `student`, `teacher` where there is no student, or None."""
        stages = self.part(StagesConfig).stages
        return next((part for part in (STUDENT, TEACHER) if part in stages), None)

    def acting_settings(self) -> dict[str, Any]:
        """Returns how the policy acts, whichever of the two it is."""
        return self.settings_of(self.acting_part or TEACHER)

    def settings_of(self, part: str) -> dict[str, Any]:
        """Returns how `teacher` or `student` acts."""
        acting = self.part(ChunkActingConfig)
        return acting.of_student() if part == STUDENT else acting.of_teacher()

    def module_settings(self) -> dict[str, Any]:
        """Returns the `model_config` of the module."""
        networks = chunk_network_settings(self.part(TrajectoryConfig))
        return {"networks": networks, **{part: self.settings_of(part) for part in (TEACHER, STUDENT)}}

    def get_default_learner_class(self) -> type[ChunkLearner]:
        """Returns the learner's class."""
        return ChunkLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the module's specification."""
        return RLModuleSpec(module_class=ChunkModule)

    def _find_algorithm(self) -> type:
        from distill_rl.algorithms.ractd import RACTD

        return RACTD
