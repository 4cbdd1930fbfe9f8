"""Configuration of planning by diffusion and of students that plan in one jump."""

import dataclasses

from distill_rl.checks import check_positive, check_widths
from distill_rl.networks.temporal_unet import check_level_sizes, check_num_steps
from learners.trajectory.config import TrajectoryConfig


@dataclasses.dataclass(frozen=True)
class PlanConfig(TrajectoryConfig):
    """What is learned about sequences of states, and how; see also `TrajectoryConfig`.

    Noise levels are in units of states scaled to [-1, 1]. Defaults are those of Duan et al. (2025), RACTD,
    Table 6, for the U-shaped maze, and of Janner et al. (2022) for guides.

    Raises:
      ValueError: if a field is out of range, or one that plans have no use for is set.
    """

    num_steps: int = 128
    """States of a plan."""
    stride: int = 1
    """Steps of the environment from one state of a plan to the next; those between are interpolated."""
    level_sizes: tuple[int, ...] = (256, 512, 1024)
    embedding_size: int = 256
    sigma_min: float = 0.002
    """Smallest noise level: far below the steps between states."""
    discount: float = 0.0
    """Of one step, in what the reward model predicts; with 0 that is 1 at the goal and 0 elsewhere."""
    termination_penalty: float = 0.0
    """Plans do not terminate."""
    goal_size: int = 2
    """Leading entries of a state that tell where it is."""
    goal_radius: float = 0.5
    """How near the goal counts as there, in the units of states."""
    guide_level_sizes: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each level of the guide, which predicts returns of noisy plans."""
    inverse_hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden layers of the inverse dynamics."""
    inverse_learning_rate: float = 1e-3
    """Step size of Adam for the inverse dynamics."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("guide_level_sizes", "inverse_hidden_sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_positive("goal_radius", self.goal_radius)
        check_positive("inverse_learning_rate", self.inverse_learning_rate)
        for name in ("termination_penalty", "teacher_reward_weight"):
            if getattr(self, name) != 0.0:
                raise ValueError(f"`{name}` must be 0 for plans, got {getattr(self, name)}")
        check_widths("inverse_hidden_sizes", self.inverse_hidden_sizes)
        check_level_sizes("guide_level_sizes", self.guide_level_sizes)
        check_num_steps("num_steps", self.num_steps, self.guide_level_sizes)
        if self.num_steps < 2:
            raise ValueError(f"`num_steps` must be at least 2, a start and a goal, got {self.num_steps}")
