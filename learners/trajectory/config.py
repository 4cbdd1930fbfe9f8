"""Configuration of reward-aware consistency trajectory distillation: teacher, reward model, student."""

import dataclasses

from distill_rl.checks import check_at_least_one, check_fraction, check_positive
from distill_rl.networks.temporal_unet import check_unet_sizes


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

    def __post_init__(self) -> None:
        for name in ("level_sizes", "reward_hidden_sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for field in dataclasses.fields(self):
            if field.type is int:
                check_at_least_one(field.name, getattr(self, field.name))
        for name in ("sigma_min", "sigma_data", "learning_rate", "grad_clip_norm"):
            check_positive(name, getattr(self, name))
        check_fraction("discount", self.discount)
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"`ema_decay` must lie in [0, 1), got {self.ema_decay}")
        weights = ("trajectory_weight", "denoising_weight", "reward_weight", "teacher_reward_weight")
        for name in (*weights, "termination_penalty"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}")
        if not self.sigma_min < self.sigma_max:
            raise ValueError(f"`sigma_max` must exceed `sigma_min` = {self.sigma_min}, got {self.sigma_max}")
        if self.num_levels < 2:
            raise ValueError(f"`num_levels` must be at least 2, got {self.num_levels}")
        check_unet_sizes(self.level_sizes, self.kernel_size, self.embedding_size)
        factor = 2 ** (len(self.level_sizes) - 1)
        if self.num_steps % factor:
            raise ValueError(
                f"`num_steps` must be a multiple of {factor} for {len(self.level_sizes)} levels, "
                f"got {self.num_steps}"
            )
