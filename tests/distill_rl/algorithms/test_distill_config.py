import pytest
from ray import tune

from actors.operators.config import ActingConfig, RootBanditConfig
from actors.operators.gumbel_muzero import GumbelMuZeroConfig
from distill_rl.algorithms import Distill, DistillConfig
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.networks.world_model import WorldModelConfig
from learners.config import DistillationConfig


def test_sections_fill_their_dataclasses():
    """Options reach the dataclass that has the field, and defaults fill the rest."""
    config = DistillConfig().search(num_candidates=32, student_fraction=0.25)
    config.distillation(hidden_sizes=[8, 8]).loop(updates_per_step=2).search(discount=0.9)
    assert config.part(RootBanditConfig) == RootBanditConfig(num_candidates=32, discount=0.9)
    assert config.part(ActingConfig).student_fraction == 0.25
    assert config.part(DistillationConfig).hidden_sizes == (8, 8)
    assert config.part(LoopConfig).updates_per_step == 2


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("search", {"num_candidate": 3}, "did you mean 'num_candidates'"),
        ("search", {"num_candidates": "many"}, "`search.num_candidates` must be int"),
        ("search", {"num_candidates": 0}, "`num_candidates` must be an integer of at least 1"),
        ("distillation", {"learning_rat": 1e-3}, "did you mean 'learning_rate'"),
        ("distillation", {"objective": "endpont"}, "did you mean 'endpoint'"),
        ("loop", {"updates_per_step": -1.0}, "`updates_per_step` must be positive, got -1.0"),
    ],
)
def test_sections_refuse_mistakes(section, options, message):
    """An unknown name, a wrong type or a value out of range is an error at once, without Ray."""
    with pytest.raises(ValueError, match=message):
        getattr(DistillConfig(), section)(**options)


def test_unknown_attribute_is_refused():
    """A setting that does not exist is an error, where RLlib would keep it silently."""
    with pytest.raises(ValueError, match=r"has no setting 'num_env_runner'.*did you mean 'num_env_runners'"):
        DistillConfig().num_env_runner = 2
    with pytest.raises(ValueError, match="has no setting 'serach_options'"):
        DistillConfig().update_from_dict({"serach_options": {}})


@pytest.mark.parametrize(
    ("options", "instead"), [({"lr": 3e-4}, "learning_rate"), ({"gamma": 0.9}, "discount")]
)
def test_settings_without_effect_are_refused(options, instead):
    """A setting of RLlib that nothing here reads is an error that names the one that counts."""
    with pytest.raises(ValueError, match=f"is not used by Distill; set .*{instead}"):
        DistillConfig().training(**options).validate()


def test_config_survives_state_and_copy():
    """Options survive RLlib's ways of rebuilding a configuration."""
    config = (
        DistillConfig().search(num_candidates=5, num_perturbed=2, ascent_steps=[]).loop(max_policy_lag=None)
    )
    config.world_model(latent_size=32)
    for other in (DistillConfig.from_state(config.get_state()), config.copy()):
        assert other.part(WorldModelConfig).latent_size == 32
        assert other.part(RootBanditConfig).num_candidates == 5
        assert other.part(LoopConfig).max_policy_lag is None
    updated = DistillConfig().update_from_dict(config.to_dict())
    assert updated.part(RootBanditConfig).num_candidates == 5


def test_search_spaces_pass_until_they_are_resolved():
    """Tune's search spaces are accepted in sections, and refused where a value is needed."""
    config = DistillConfig().search(num_candidates=tune.grid_search([8, 16]))
    with pytest.raises(ValueError, match="num_candidates"):
        config.part(RootBanditConfig)


def test_algorithm_is_registered_for_tune():
    """Tune finds the algorithm by name."""
    from ray.tune.registry import get_trainable_cls

    assert get_trainable_cls("Distill") is Distill


def test_estimators_that_need_the_density_are_refused():
    """A search gives p* at its candidates only; the refusal comes before Ray starts."""
    config = DistillConfig().distillation(objective="denoising", posterior="stein")
    with pytest.raises(ValueError, match="`target` must be given for 'stein'"):
        config.validate()


def test_another_operator_brings_its_own_options():
    """What both have is kept, what only the old one has is forgotten, and typos are errors still."""
    config = DistillConfig().search(num_candidates=24, ascent_steps=[0.5], student_fraction=0.25)
    config.search(operator="gumbel_muzero", num_simulations=9)
    assert config.part(GumbelMuZeroConfig) == GumbelMuZeroConfig(num_candidates=24, num_simulations=9)
    assert config.part(ActingConfig).student_fraction == 0.25
    assert "ascent_steps" not in config.search_options
    with pytest.raises(ValueError, match="did you mean 'num_simulations'"):
        config.search(num_simulation=3)
    with pytest.raises(ValueError, match="did you mean 'gumbel_muzero'"):
        config.search(operator="gumbel")
    with pytest.raises(ValueError, match="must be the name of one operator"):
        config.search(operator=tune.grid_search(["mppi", "cem"]))


@pytest.mark.parametrize(
    ("section", "option"),
    [
        ("search", "num_transitions"),
        ("search", "num_simulator_threads"),
        ("distillation", "value_loss_weight"),
    ],
)
def test_options_that_a_learned_model_replaces_are_refused(section, option):
    """Rather than ignored."""
    config = DistillConfig().world_model(enabled=True)
    getattr(config, section)(**{option: 2})
    with pytest.raises(ValueError, match=f"`{section}.{option}` is not used with a learned model"):
        config.validate()


def test_the_critic_asks_for_a_learned_model():
    """Before Ray starts."""
    config = DistillConfig().search(operator="critic")
    with pytest.raises(ValueError, match="critic needs values of actions"):
        config.validate()
    config.world_model(enabled=True).validate()
