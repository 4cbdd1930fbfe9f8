"""Settings of sequences of actions and of plans, out of range."""

import pytest
import torch

from distill_rl.cli.experiments.maze2d import maze_specs
from distill_rl.cli.presets import load_preset, preset_names
from distill_rl.networks.temporal_unet import TemporalUNet
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


def _configurations():
    """Those of every preset of teachers and students and of every maze; of equal sizes the first."""
    found = {}
    for preset in preset_names():
        if preset.startswith("ractd_"):
            for size in ("laptop", "small"):
                found[f"{preset} {size}"] = TrajectoryConfig(**load_preset(preset, size)["learning"])
    for scale in ("small", "full"):
        for name, spec in maze_specs(scale).items():
            if "plan" in spec:
                found[f"{name} {scale}"] = PlanConfig(**spec["plan"])
    by_size = {}
    for name, config in found.items():
        by_size.setdefault((config.num_steps, str(config.unet_settings)), pytest.param(config, id=name))
    return list(by_size.values())


@pytest.mark.parametrize("config", _configurations())
def test_the_networks_of_every_preset_keep_the_shape(config):
    """Teachers with one noise level, students with two, guides; on a device that computes nothing."""
    with torch.device("meta"):
        x, condition = torch.empty(2, config.num_steps, 6), torch.empty(2, 11)
        for num_noise_inputs in (1, 2):
            network = TemporalUNet(6, 11, num_noise_inputs=num_noise_inputs, **config.unet_settings)
            assert network(x, [torch.empty(2)] * num_noise_inputs, condition).shape == x.shape
        if isinstance(config, PlanConfig):
            guide = TemporalUNet(6, 11, level_sizes=config.guide_level_sizes)
            assert guide(x, [torch.empty(2)], condition).shape == x.shape
