"""Configuration of reward-aware consistency trajectory distillation: teacher, reward model, student."""

import dataclasses
from typing import Any

from distill_rl.checks import (
    check_at_least_one,
    check_decay,
    check_fraction,
    check_not_negative,
    check_positive,
    check_widths,
)
from distill_rl.diffusion.schedules import check_noise_levels
from distill_rl.networks.temporal_unet import check_num_steps, check_unet_sizes


@dataclasses.dataclass(frozen=True)
class TrajectoryConfig:
    """What is learned about sequences of actions, and how. Noise levels are in units of actions.

    Defaults are those of Duan et al. (2025), RACTD, Tables 7 to 9 and Appendix B, and of Prasad et al.
    (2024), "Consistency policy", which it follows.

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    num_steps: int = 16
    """Actions of a sequence."""
    level_sizes: tuple[int, ...] = (512, 1024, 2048)
    """Channels of each level of the U-Net."""
    kernel_size: int = 5
    """Of its convolutions over time."""
    embedding_size: int = 128
    """Entries of the embedding of a noise level."""
    reward_hidden_sizes: tuple[int, ...] = (32, 64, 128, 256)
    """Hidden layers of the reward model."""
    sigma_min: float = 0.02
    """Smallest noise level."""
    sigma_max: float = 80.0
    """Largest noise level."""
    sigma_data: float = 0.5
    """Standard deviation of actions assumed by the scalings."""
    num_levels: int = 80
    """Noise levels, on Karras' grid, that jumps and the teacher's steps are between."""
    num_solver_steps: int = 1
    """Most steps of the teacher between the two jumps that are compared."""
    trajectory_weight: float = 1.0
    """Student: weight of the consistency of jumps."""
    denoising_weight: float = 1.0
    """Student: weight of denoising."""
    reward_weight: float = 1.0
    """Student: weight of the predicted return; 0 clones."""
    teacher_reward_weight: float = 0.0
    """Teacher: the same, of its denoised actions; the paper's reward-aware teacher."""
    discount: float = 0.99
    """Of one step, in returns to go."""
    termination_penalty: float = 100.0
    """Taken off the reward of steps that terminate an episode."""
    batch_size: int = 64
    """Sequences of a batch."""
    learning_rate: float = 1e-4
    """Step size of Adam."""
    grad_clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.999
    """Decay of the averaged weights, which act and teach."""
    max_consecutive_skips: int = 10
    """Updates skipped in a row for a non-finite loss before the last good weights come back."""

    @property
    def unet_settings(self) -> dict[str, Any]:
        """Arguments of a `TemporalUNet` that follow from the configuration."""
        return {name: getattr(self, name) for name in ("level_sizes", "kernel_size", "embedding_size")}

    def __post_init__(self) -> None:
        for name in ("level_sizes", "reward_hidden_sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for field in dataclasses.fields(self):
            if field.type is int:
                check_at_least_one(field.name, getattr(self, field.name))
        check_noise_levels(self.sigma_min, self.sigma_max)
        for name in ("sigma_data", "learning_rate", "grad_clip_norm"):
            check_positive(name, getattr(self, name))
        check_fraction("discount", self.discount)
        check_decay("ema_decay", self.ema_decay)
        weights = ("trajectory_weight", "denoising_weight", "reward_weight", "teacher_reward_weight")
        for name in (*weights, "termination_penalty"):
            check_not_negative(name, getattr(self, name))
        check_widths("reward_hidden_sizes", self.reward_hidden_sizes)
        if self.num_levels < 2:
            raise ValueError(f"`num_levels` must be at least 2, got {self.num_levels}")
        check_unet_sizes(self.level_sizes, self.kernel_size, self.embedding_size)
        check_num_steps("num_steps", self.num_steps, self.level_sizes)
