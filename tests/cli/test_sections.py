"""Sections become the configuration; every mistake is named before Ray starts."""

import pytest
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from actors.operators.config import ActingConfig, RootBanditConfig
from distill_rl.cli.presets import load_preset, preset_names
from distill_rl.cli.sections import RLLIB_SECTIONS, build_config
from distill_rl.cli.settings import RunSettings


@pytest.fixture(autouse=True)
def _ray_must_not_start(monkeypatch):
    """Another test may have started Ray already, so any further start is what fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", refuse)


@pytest.mark.parametrize("size", ["laptop", "cluster"])
@pytest.mark.parametrize("preset", [name for name in preset_names() if "dataset" not in load_preset(name)])
def test_every_preset_builds_in_both_sizes(preset, size):
    """No preset has an unknown or ill-typed setting, and none starts Ray."""
    config, settings = build_config(load_preset(preset, size))
    assert isinstance(config, AlgorithmConfig)
    assert isinstance(settings, RunSettings)


def test_values_reach_the_section_they_are_written_in():
    """RLlib's sections, ours, and the driver's."""
    config, settings = build_config(
        {
            "environment": {"env": "Pendulum-v1", "env_config": {"action_repeat": 3}},
            "env_runners": {"num_env_runners": 2, "rollout_fragment_length": 5},
            "search": {
                "num_candidates": 7,
                "num_perturbed": 2,
                "ascent_steps": [1.0],
                "student_fraction": 0.25,
            },
            "run": {"time_limit_sec": 60, "max_env_steps": 100},
        }
    )
    assert (config.env, config.env_config) == ("Pendulum-v1", {"action_repeat": 3})
    assert (config.num_env_runners, config.rollout_fragment_length) == (2, 5)
    assert config.part(RootBanditConfig).num_candidates == 7
    assert config.part(ActingConfig).student_fraction == 0.25
    assert settings == RunSettings(time_limit_sec=60, max_env_steps=100)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"serach": {}}, r"no section is called 'serach' \(did you mean 'search'\?\)"),
        ({"search": {"num_candidate": 3}}, r"'num_candidate' \(did you mean 'num_candidates'\?\)"),
        ({"env_runners": {"num_env_runer": 3}}, r"'num_env_runer' \(did you mean 'num_env_runners'\?\)"),
        ({"training": {"lr": "abc"}}, r"`training.lr` must be a number or a schedule, got 'abc' \(str\)"),
        ({"run": {"time_limit": 3}}, r"'time_limit' \(did you mean 'time_limit_sec'\?\)"),
        ({"loop": {"updates_per_steps": 3}}, r"'updates_per_steps' \(did you mean 'updates_per_step'\?\)"),
        ({"search": {"num_candidates": "many"}}, r"`search.num_candidates` must be int, got 'many' \(str\)"),
        (
            {"env_runners": {"num_env_runners": "two"}},
            r"`env_runners.num_env_runners` must be .*got 'two' \(str\)",
        ),
        ({"run": {"time_limit_sec": "15m"}}, r"`run.time_limit_sec` must be float, got '15m'"),
        ({"run": {"time_limit_sec": -1}}, r"`time_limit_sec` must be positive, got -1"),
        ({"env_runners": {"num_rollout_workers": 3}}, r"no option 'num_rollout_workers'"),
        ({"training": {"gamma": 0.5}}, r"`gamma` is not used by Distill; set search\(discount=...\)"),
    ],
)
def test_mistakes_are_named_before_ray_starts(sections, message):
    """Unknown names get the nearest known one; types, ranges and RLlib's deprecated names are checked."""
    with pytest.raises(ValueError, match=message):
        build_config({"environment": {"env": "Pendulum-v1"}} | sections)


@pytest.mark.parametrize("algorithm", ["cm_ppo", "consistency_ac", "ractd"])
def test_learners_that_end_with_the_driver_are_not_restarted(algorithm):
    """Where the setting would do nothing it is refused, with what to do instead."""
    run = {"algorithm": algorithm, "max_learner_restarts": 3}
    with pytest.raises(
        ValueError, match=f"`run.max_learner_restarts` is not used by {algorithm}, .*--restarts"
    ):
        build_config({"environment": {"env": "Pendulum-v1"}, "run": run})


@pytest.mark.parametrize("algorithm", ["cm_ppo", "consistency_ac", "ractd"])
def test_sections_of_a_search_say_who_has_them(algorithm):
    """A training that does not search has no edge; its name is not mistyped."""
    message = rf"section 'edge' must be of a training that searches \(distill, .*\), got one by {algorithm}"
    with pytest.raises(ValueError, match=message):
        build_config({"run": {"algorithm": algorithm}, "edge": {"redis_url": "redis://h"}})


@pytest.mark.parametrize("section", RLLIB_SECTIONS)
def test_every_section_of_rllib_is_one_of_its_methods(section):
    """The list does not drift from RLlib."""
    assert callable(getattr(AlgorithmConfig, section))
    with pytest.raises(ValueError, match="no option 'not_an_option'"):
        build_config({section: {"not_an_option": 1}})
