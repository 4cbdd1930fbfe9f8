import re

import pytest

from learners.offline.config import DatasetConfig, LearningConfig

_COUNTS = [
    "num_critics",
    "num_sampling_steps",
    "curriculum_updates",
    "max_q_backup_actions",
    "num_references",
    "num_reference_states",
    "num_behaviour_steps",
    "num_ode_steps",
    "num_action_candidates",
    "batch_size",
    "ema_interval_updates",
    "ema_start_updates",
    "learning_rate_decay_updates",
    "updates_per_iteration",
    "max_consecutive_skips",
]
_POSITIVE = [
    "sigma_min",
    "sigma_data",
    "loss_scale",
    "target_kl",
    "learning_rate",
    "critic_learning_rate",
    "grad_clip_norm",
]
_FRACTIONS = ["discount", "zero_noise_fraction"]
_DECAYS = ["ema_decay", "critic_ema_decay"]
_BAD = [
    *((name, value, "must be an integer of at least 1") for name in _COUNTS for value in (0, 2.5, True)),
    *((name, value, "must be positive") for name in _POSITIVE for value in (0.0, -1.0, float("nan"))),
    *((name, value, "must be within [0, 1]") for name in _FRACTIONS for value in (-0.1, 1.1, float("nan"))),
    *((name, value, "must lie in [0, 1)") for name in _DECAYS for value in (-0.1, 1.0, float("nan"))),
    *((name, -0.5, "must not be negative") for name in ("q_weight", "noise_scale", "ascent_distance")),
    ("num_ode_steps", 2, "must be an integer of at least 3"),
    ("sigma_max", 0.002, "must exceed `sigma_min` = 0.002"),
    ("hidden_sizes", (), "must be positive widths"),
    ("hidden_sizes", (8, 0), "must be positive widths"),
    ("policy", "gausian", "did you mean 'gaussian'"),
    ("improvement", "gradients", "did you mean 'gradient'"),
    ("backbone", "ln_resnets", "did you mean 'ln_resnet'"),
]


@pytest.mark.parametrize(("name", "value", "message"), _BAD)
def test_bad_values_are_named(name, value, message):
    """The field, what was expected and what came."""
    with pytest.raises(ValueError, match=rf"`{name}` must.*{re.escape(str(value))}") as caught:
        LearningConfig(**{name: value})
    assert message in str(caught.value)


def test_a_dataset_has_a_known_transform():
    """The nearest one is named."""
    with pytest.raises(ValueError, match=r"`reward_transform` must be one of .*did you mean 'antmaze'"):
        DatasetConfig(reward_transform="antmze")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"improvement": "references", "policy": "diffusion"},
            "`policy` must be consistency to distil reference sets, got 'diffusion'",
        ),
        (
            {"improvement": "gradient", "num_critics": 5},
            "`num_critics` must be 2 with improvement 'gradient', got 5",
        ),
        (
            {"improvement": "references", "ascent_distance": 0.5, "num_references": 1},
            "`num_references` must be at least 2 with ascent_distance",
        ),
        (
            {"num_action_candidates": 50},
            "`num_action_candidates` must be 1 without a critic, got 50 with improvement 'none'",
        ),
        (
            {"improvement": "references", "batch_size": 32, "num_reference_states": 33},
            "`num_reference_states` must be at most batch_size = 32, got 33",
        ),
        (
            {"improvement": "gradient", "normalize_q_targets": True, "batch_size": 1},
            "`batch_size` must be at least 2 for each learner with normalize_q_targets",
        ),
    ],
)
def test_values_that_do_not_go_together_are_named(options, message):
    """Each alone is in range."""
    with pytest.raises(ValueError, match=message):
        LearningConfig(**options)


def test_only_what_is_learned_is_checked_together():
    """A small batch without reference sets is fine, and so are candidates with a critic."""
    assert LearningConfig(batch_size=8).batch_size == 8
    assert LearningConfig(improvement="gradient", num_action_candidates=50).has_critic
    assert LearningConfig(improvement="references").has_critic and not LearningConfig().has_critic


def test_lists_of_widths_become_tuples():
    """As YAML gives them; the configuration stays hashable."""
    assert hash(LearningConfig(hidden_sizes=[8, 8])) == hash(LearningConfig(hidden_sizes=(8, 8)))


def test_zero_is_a_value_where_it_means_something():
    """No critic's weight, no noise, no discount, an average that is the policy, and levels unweighted."""
    config = LearningConfig(q_weight=0.0, noise_scale=0.0, discount=0.0, ema_decay=0.0, loss_scale=None)
    assert config.loss_scale is None
