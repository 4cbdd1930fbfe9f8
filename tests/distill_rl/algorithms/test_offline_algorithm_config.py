import numpy as np
import pytest
from ray import tune
from ray.tune.registry import get_trainable_cls

from distill_rl.algorithms import Offline, OfflineConfig, offline
from distill_rl.algorithms.offline_config import (
    OFFLINE_METHODS,
    ConsistencyACConfig,
    CriticDistillConfig,
    acting_settings,
)
from distill_rl.cli.settings import OFFLINE_ALGORITHMS
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import save_dataset
from learners.config import DistillationConfig
from learners.offline.config import DatasetConfig, LearningConfig


@pytest.fixture
def dataset_folder(tmp_path):
    """The folder of a dataset of 4 steps, with 3 observations and 2 actions."""
    dataset = OfflineDataset(
        observations=np.zeros((4, 3), np.float32),
        actions=np.zeros((4, 2), np.float32),
        rewards=np.zeros(4, np.float32),
        next_observations=np.zeros((4, 3), np.float32),
        terminals=np.zeros(4, bool),
        is_transition=np.ones(4, bool),
        episode_ends=np.array([4]),
        metadata={"name": "made", "source": "here"},
    )
    return str(save_dataset(dataset, tmp_path / "made"))


def test_methods_have_one_name_everywhere():
    """That of presets, of the configuration and of the algorithm; Tune finds each by its class's name."""
    assert set(OFFLINE_METHODS) == set(OFFLINE_ALGORITHMS)
    for name, config_type in OFFLINE_METHODS.items():
        assert config_type.__name__.removesuffix("Config").lower() == name.replace("_", "")
        algorithm = getattr(offline, config_type.__name__.removesuffix("Config"))
        assert config_type().algo_class is algorithm
        assert get_trainable_cls(algorithm.__name__) is algorithm
        assert type(algorithm.get_default_config()) is config_type
    assert get_trainable_cls("Offline") is Offline and OfflineConfig().algo_class is Offline


@pytest.mark.parametrize(
    ("method", "learning", "acting"),
    [
        ("gaussian_bc", ("gaussian", "none", 1), (1, 0.0, 1)),
        ("consistency_bc", ("consistency", "none", 2), (2, 1.0, 1)),
        ("diffusion_bc", ("diffusion", "none", 5), (1, 1.0, 1)),
        ("consistency_ac", ("consistency", "gradient", 2), (2, 1.0, 50)),
        ("diffusion_ql", ("diffusion", "gradient", 5), (1, 1.0, 50)),
        ("critic_distill", ("consistency", "references", 1), (1, 0.0, 1)),
    ],
)
def test_methods_are_those_of_their_papers(method, learning, acting):
    """Policy, improvement and steps; and how the policy acts: steps, noise, candidates."""
    config = OFFLINE_METHODS[method]().part(LearningConfig)
    assert (config.policy, config.improvement, config.num_sampling_steps) == learning
    assert tuple(acting_settings(config).values()) == acting


def test_defaults_are_the_published_ones():
    """Adam at 3e-4, batches of 256, averages of decay 0.995 every 5 updates after 1000, discount 0.99."""
    config = ConsistencyACConfig().part(LearningConfig)
    assert config.learning_rate == config.critic_learning_rate == 3e-4
    assert (config.batch_size, config.hidden_sizes, config.discount) == (256, (256, 256, 256), 0.99)
    assert config.ema_decay == config.critic_ema_decay == 0.995
    assert (config.ema_interval_updates, config.ema_start_updates) == (5, 1_000)
    assert (config.sigma_min, config.sigma_max, config.sigma_data) == (0.002, 80.0, 0.5)
    assert config.loss_scale == 100.0


def test_options_go_over_those_of_the_method():
    """And one configuration's options are no other's."""
    config = ConsistencyACConfig().learning(num_sampling_steps=5, hidden_sizes=[8]).dataset(name="made")
    learning = config.part(LearningConfig)
    assert (learning.num_sampling_steps, learning.hidden_sizes) == (5, (8,))
    assert (learning.improvement, learning.num_action_candidates) == ("gradient", 50)
    assert config.part(DatasetConfig).name == "made"
    assert ConsistencyACConfig().part(LearningConfig).num_sampling_steps == 2
    assert ConsistencyACConfig.method_options["num_sampling_steps"] == 2


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("learning", {"q_wait": 1.0}, "did you mean 'q_weight'"),
        ("learning", {"batch_size": "many"}, "`learning.batch_size` must be int"),
        ("learning", {"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0"),
        ("learning", {"policy": "gaussian", "improvement": "references"}, "`policy` must be consistency"),
        ("dataset", {"nam": "made"}, "did you mean 'name'"),
        ("dataset", {"reward_transform": "antmaz"}, "did you mean 'antmaze'"),
    ],
)
def test_sections_refuse_mistakes(section, options, message):
    """An unknown name, a wrong type or a value out of range is an error at once, without Ray."""
    with pytest.raises(ValueError, match=message):
        getattr(ConsistencyACConfig(), section)(**options)


def test_unknown_attributes_and_parts_are_refused():
    """With the nearest name, or those there are."""
    with pytest.raises(
        ValueError, match=r"`ConsistencyACConfig` has no setting 'num_learner'.*'num_learners'"
    ):
        ConsistencyACConfig().num_learner = 2
    with pytest.raises(ValueError, match="`part` must be one of DatasetConfig, LearningConfig; got Distill"):
        ConsistencyACConfig().part(DistillationConfig)


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("training", {"lr": 3e-4}, r"`lr` is not used by CriticDistill; set learning\(learning_rate=...\)"),
        ("training", {"gamma": 0.9}, r"learning\(discount=...\)"),
        ("training", {"grad_clip": 1.0}, r"learning\(grad_clip_norm=...\)"),
        (
            "training",
            {"train_batch_size_per_learner": 8},
            r"`train_batch_size_per_learner`.*\(batch_size=...\)",
        ),
        ("training", {"minibatch_size": 8}, r"learning\(batch_size=...\)"),
        ("offline_data", {"input_": "here"}, r"dataset\(name=...\)"),
        ("env_runners", {"num_env_runners": 2}, r"evaluation\(evaluation_num_env_runners=...\)"),
    ],
)
def test_settings_without_effect_are_refused(dataset_folder, section, options, message):
    """A setting of RLlib that nothing here reads is an error that names the one that counts."""
    config = CriticDistillConfig().dataset(name=dataset_folder)
    config.validate()
    with pytest.raises(ValueError, match=message):
        getattr(config, section)(**options).validate()


def test_the_dataset_is_found_when_the_configuration_is_checked(dataset_folder, tmp_path, monkeypatch):
    """Its sizes become the spaces; a missing name and a missing dataset are errors."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path))
    config = OfflineConfig().dataset(name="made")
    config.validate()
    assert (config.observation_space.shape, config.action_space.shape) == ((3,), (2,))
    np.testing.assert_array_equal(config.action_space.high, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"`dataset.name` must be set"):
        OfflineConfig().validate()
    with pytest.raises(ValueError, match=r"must be a dataset in .* got 'mad'.*did you mean 'made'"):
        OfflineConfig().dataset(name="mad").validate()


def test_the_environment_must_have_the_sizes_of_the_dataset(dataset_folder):
    """None is fine; another size is named, that of actions too."""
    config = OfflineConfig().dataset(name=dataset_folder)
    config.check_env()
    with pytest.raises(ValueError, match=r"`dataset observations` must have shape \[any, 4\], got \[4, 3\]"):
        config.environment("InvertedPendulum-v5").check_env()
    with pytest.raises(ValueError, match=r"`dataset actions` must have shape \[any, 1\], got \[4, 2\]"):
        config.environment("Pendulum-v1").check_env()


def test_config_survives_state_and_copy(dataset_folder):
    """Options survive RLlib's ways of rebuilding a configuration."""
    config = ConsistencyACConfig().dataset(name=dataset_folder).learning(q_weight=0.3, loss_scale=None)
    updated = ConsistencyACConfig().update_from_dict(config.to_dict())
    for other in (ConsistencyACConfig.from_state(config.get_state()), config.copy(), updated):
        learning = other.part(LearningConfig)
        assert (learning.q_weight, learning.loss_scale) == (0.3, None)
        assert other.part(DatasetConfig).name == dataset_folder


def test_search_spaces_pass_until_they_are_resolved():
    """Tune's search spaces are accepted in sections, and refused where a value is needed."""
    config = ConsistencyACConfig().learning(batch_size=tune.grid_search([8, 16]))
    with pytest.raises(ValueError, match="`batch_size` must be an integer of at least 1"):
        config.part(LearningConfig)
