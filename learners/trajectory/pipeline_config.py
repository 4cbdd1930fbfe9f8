"""Configuration of the three stages of RACTD, and of how what they learn acts."""

import dataclasses

from distill_rl.checks import check_at_least_one, check_choice, check_not_negative
from distill_rl.diffusion.multistep import SAMPLERS
from distill_rl.policies.chunk_networks import PARTS, REWARD, STUDENT, TEACHER
from learners.trajectory.config import TrajectoryConfig

STAGES = PARTS
"""Each stage has the name of the part that it leaves."""


@dataclasses.dataclass(frozen=True)
class StagesConfig:
    """Which stages are run, for how long, and what the others left behind.

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    stages: tuple[str, ...] = STAGES
    """Those to run, of `teacher`, `reward` and `student`. They always go in this order, but for a teacher
    that climbs rewards, which needs their model first."""
    teacher_updates: int = 400_000
    """Gradient steps of the teacher."""
    reward_updates: int = 200_000
    """Gradient steps of the reward model."""
    student_updates: int = 200_000
    """Gradient steps of the student."""
    teacher_checkpoint: str | None = None
    """Run folder or checkpoint with the teacher, where the stage is not run."""
    reward_checkpoint: str | None = None
    """Run folder or checkpoint with the reward model, where the stage is not run."""
    updates_per_iteration: int = 100
    """Updates between two results."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        if not self.stages or len(set(self.stages)) != len(self.stages):
            raise ValueError(f"`stages` must name one stage or more, each once; got {list(self.stages)}")
        for stage in self.stages:
            check_choice("stages", stage, STAGES)
        for name in (*(f"{stage}_updates" for stage in STAGES), "updates_per_iteration"):
            check_at_least_one(name, getattr(self, name))
        for stage in (TEACHER, REWARD):
            path = getattr(self, f"{stage}_checkpoint")
            if path is not None and stage in self.stages:
                raise ValueError(f"`{stage}_checkpoint` must be None where the stage is run, got {path!r}")

    def schedule(self, config: TrajectoryConfig) -> tuple[tuple[str, int], ...]:
        """Returns the stages in the order that they run in, with their updates.

        Args:
          config: what is learned.

        Raises:
          ValueError: if a stage lacks what an earlier one would have left.
        """
        needs = {
            TEACHER: (REWARD,) if config.teacher_reward_weight > 0.0 else (),
            REWARD: (),
            STUDENT: (TEACHER, REWARD) if config.reward_weight > 0.0 else (TEACHER,),
        }
        for stage in self.stages:
            for needed in needs[stage]:
                if needed not in self.stages and getattr(self, f"{needed}_checkpoint") is None:
                    raise ValueError(
                        f"`stages` must have {needed!r} before {stage!r}, or `{needed}_checkpoint` be set; "
                        f"got {list(self.stages)}"
                    )
        order = (REWARD, TEACHER, STUDENT) if needs[TEACHER] else STAGES
        return tuple((s, getattr(self, f"{s}_updates")) for s in order if s in self.stages)


@dataclasses.dataclass(frozen=True)
class ChunkActingConfig:
    """How teacher and student act.

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    exec_horizon: int = 1
    """Actions of a chunk that are acted out before the next one is planned; 1 plans at every step."""
    noise_scale: float = 1.0
    """Factor on all noise of sampling; `1 / sigma_max` starts at unit noise."""
    num_sampling_steps: int = 1
    """Jumps of the student."""
    teacher_sampler: str = "heun"
    """One of `distill_rl.diffusion.multistep.SAMPLERS`."""
    num_teacher_steps: int = 80
    """Steps of that sampler."""

    def __post_init__(self) -> None:
        for name in ("exec_horizon", "num_sampling_steps", "num_teacher_steps"):
            check_at_least_one(name, getattr(self, name))
        check_choice("teacher_sampler", self.teacher_sampler, SAMPLERS)
        check_not_negative("noise_scale", self.noise_scale)

    def of_teacher(self) -> dict[str, object]:
        """Returns the arguments of acting with the teacher, as `LoadedChunkPolicy` has them."""
        own = {"num_steps": self.num_teacher_steps, "sampler": self.teacher_sampler}
        return own | self._shared()

    def of_student(self) -> dict[str, object]:
        """Returns the arguments of acting with the student, as `LoadedChunkPolicy` has them."""
        return {"num_steps": self.num_sampling_steps} | self._shared()

    def _shared(self) -> dict[str, object]:
        return {"noise_scale": self.noise_scale, "exec_horizon": self.exec_horizon}
