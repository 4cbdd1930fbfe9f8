"""What a configuration of RACTD says about who acts and where parts come from."""

from pathlib import Path

import pytest

from distill_rl.algorithms.online_config import OnlineConsistencyACConfig
from distill_rl.algorithms.ractd_config import RACTDConfig
from learners.offline.config import ExperienceConfig
from learners.trajectory.pipeline_config import StagesConfig

_LEFT = {"teacher_checkpoint": "a", "reward_checkpoint": "b"}


@pytest.mark.parametrize(
    ("stages", "part"),
    [
        (("teacher", "reward", "student"), "student"),
        (("student",), "student"),
        (("teacher", "reward"), "teacher"),
        (("reward",), None),
    ],
)
def test_the_student_acts_or_else_the_teacher(stages, part):
    """Each in its own way; a run of the reward model alone has nobody to act."""
    left = _LEFT if stages == ("student",) else {}
    config = RACTDConfig().stages(stages=stages, **left).acting(num_teacher_steps=7, num_sampling_steps=3)
    assert config.acting_part == part
    assert config.acting_settings()["num_steps"] == (3 if part == "student" else 7)
    settings = config.module_settings()
    assert settings["student"] == config.settings_of("student")
    assert settings["teacher"] == config.settings_of("teacher") | {"sampler": "heun"}


def test_a_resumed_run_takes_what_others_left_from_its_own_checkpoint():
    """Only what it took from others to begin with."""
    own = Path("runs/own/checkpoint_3")
    config = RACTDConfig().stages(stages=("student",), **_LEFT)
    config.resume_from(own)
    stages = config.part(StagesConfig)
    assert stages.teacher_checkpoint == stages.reward_checkpoint == str(own)
    whole = RACTDConfig()
    whole.resume_from(own)
    assert whole.part(StagesConfig) == StagesConfig()
    online = OnlineConsistencyACConfig().learning(initial_checkpoint="a")
    online.resume_from(own)
    assert online.part(ExperienceConfig).initial_checkpoint is None


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("learning", {"reward_wait": 1.0}, "did you mean 'reward_weight'"),
        ("stages", {"stage": ("teacher",)}, "did you mean 'stages'"),
        ("acting", {"noise_scale": "much"}, "`acting.noise_scale` must be float, got 'much'"),
        ("acting", {"exec_horizon": 0}, "`exec_horizon` must be an integer of at least 1, got 0"),
    ],
)
def test_sections_refuse_mistakes(section, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(RACTDConfig(), section)(**options)
