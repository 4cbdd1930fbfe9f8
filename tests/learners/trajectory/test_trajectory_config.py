"""Settings of sequences of actions and of plans, out of range."""

import pytest

from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.plan_config import PlanConfig

_ONE_LEVEL = {"num_steps": 8, "level_sizes": (16,), "guide_level_sizes": (16,)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 6, "level_sizes": (8, 8, 8)}, "`num_steps` must be a multiple of 4"),
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_max": 0.01}, "`sigma_max` must exceed"),
        ({"num_levels": 1}, "`num_levels`"),
        ({"reward_weight": -1.0}, "`reward_weight`"),
        ({"termination_penalty": float("inf")}, "`termination_penalty` must not be negative, got inf"),
        ({"reward_hidden_sizes": (8, 0)}, "`reward_hidden_sizes` must be positive widths"),
        ({"sigma_max": float("inf")}, "`sigma_max` must be positive, got inf"),
        ({"ema_decay": 1.0}, "`ema_decay`"),
        ({"discount": 1.5}, "discount"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TrajectoryConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"termination_penalty": 1.0}, "`termination_penalty` must be 0 for plans"),
        ({"teacher_reward_weight": 1.0}, "`teacher_reward_weight` must be 0 for plans"),
        ({"goal_radius": 0.0}, "goal_radius"),
        ({"goal_size": 0}, "goal_size"),
        ({"stride": 0}, "stride"),
        ({"guide_level_sizes": (8,) * 5}, r"multiple of 16 for levels of \(8, 8, 8, 8, 8\)"),
        ({"guide_level_sizes": (12,)}, "`guide_level_sizes` must be multiples of 8, got"),
        ({"num_steps": 1}, "`num_steps` must be at least 2, a start and a goal, got 1"),
        ({"inverse_hidden_sizes": (0,)}, "`inverse_hidden_sizes` must be positive widths"),
        ({"inverse_learning_rate": -1.0}, "inverse_learning_rate"),
    ],
)
def test_plan_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        PlanConfig(**(_ONE_LEVEL | change))
