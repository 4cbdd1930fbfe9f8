"""Settings of PPO with a consistency policy."""

import json
from pathlib import Path

import pytest

from distill_rl.algorithms.cm_ppo_config import CMPPOConfig
from distill_rl.cli.experiments.cm_ppo import ppo_specs
from learners.ppo.config import LITERAL_FORM, ConsistencyPPOConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "exat"}, "`likelihood` must be one of .*exact.*got 'exat'"),
        ({"weights": "none"}, "`weights` must be one of clamp, exponential, linear"),
        ({"coupling": "none"}, "`coupling` must be one of generating, independent; got 'none'"),
        ({"num_sampling_steps": 0}, "`num_sampling_steps` must be an integer of at least 1, got 0"),
        ({"num_noise_levels": 1}, "`num_noise_levels` must be at least 2, got 1"),
        ({"noise_std": 0.0}, "`noise_std` must be positive, got 0"),
        ({"noise_std": 90.0}, "`noise_std` must be below `sigma_max` = 80.0, got 90.0"),
        ({"consistency_coeff": -0.1}, "`consistency_coeff` must not be negative, got -0.1"),
        ({"sigma_max": 0.001}, "`sigma_max` must exceed `sigma_min`"),
        ({"hidden_sizes": ()}, "`hidden_sizes` must be positive widths"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    """The message names the field and what came."""
    with pytest.raises(ValueError, match=message):
        ConsistencyPPOConfig(**options)


def test_paper_form_is_written_once():
    """Options of the section, those of the experiment, and those that docs/cm_ppo.md spells out."""
    assert CMPPOConfig().consistency(**LITERAL_FORM).consistency_settings.likelihood == "exact"
    literal = [spec for spec in ppo_specs("small").values() if spec.variant == "literal"]
    assert literal and all(LITERAL_FORM.items() <= spec.consistency.items() for spec in literal)
    text = (Path(__file__).parents[3] / "docs" / "cm_ppo.md").read_text(encoding="utf-8")
    for name, value in LITERAL_FORM.items():
        assert f"`{name}={json.dumps(value)}`" in text


def test_coefficient_falls_linearly_to_zero():
    """Hand-worked: half of it at half of the steps, nothing from the end on."""
    config = ConsistencyPPOConfig(consistency_coeff=0.4, consistency_decay_steps=1_000)
    assert [config.consistency_coeff_at(step) for step in (0, 500, 1_000, 2_000)] == [0.4, 0.2, 0.0, 0.0]


def test_mistyped_options_name_the_nearest():
    """In the section, and as attributes of the configuration."""
    with pytest.raises(ValueError, match=r"has no option 'likelihod' .did you mean 'likelihood'"):
        CMPPOConfig().consistency(likelihod="exact")
    with pytest.raises(ValueError, match=r"has no setting 'clip_parm'.*clip_param"):
        CMPPOConfig().clip_parm = 0.1


def test_entropy_bonus_is_refused():
    """A one-step policy has none in closed form."""
    with pytest.raises(ValueError, match="`entropy_coeff` must be 0"):
        CMPPOConfig().environment("Pendulum-v1").training(entropy_coeff=0.01).validate()


def test_settings_of_the_section_reach_the_module():
    """Networks, likelihood and number of steps."""
    config = CMPPOConfig().consistency(likelihood="loss_difference", num_sampling_steps=3, hidden_sizes=[8])
    model = config.model_config
    assert (model["likelihood"], model["num_steps"]) == ("loss_difference", 3)
    assert model["networks"]["hidden_sizes"] == (8,)
