"""The presets that learn from a dataset, on tiny files in the layouts of D4RL."""

import h5py
import numpy as np
import pytest

from distill_rl.algorithms.options import build_part
from distill_rl.cli.datasets import import_from
from distill_rl.cli.presets import load_preset, preset_names
from distill_rl.cli.sections import build_config
from distill_rl.cli.settings import OFFLINE_ALGORITHMS
from distill_rl.datasets.store import load_dataset
from learners.offline.config import DatasetConfig, LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionSampler

_SIZES = {
    "half_cheetah": (17, 6),
    "hopper": (11, 3),
    "walker2d": (17, 6),
    "antmaze": (29, 8),
    "pen": (45, 24),
    "kitchen": (60, 9),
}
_TINY = {"hidden_sizes": (8,), "batch_size": 4, "num_reference_states": 2}


def offline_presets():
    presets = {name: load_preset(name)["run"].get("algorithm") for name in preset_names()}
    return [name for name, algorithm in presets.items() if algorithm in OFFLINE_ALGORITHMS]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path / "datasets"))


def _import_file(preset, folder):
    """Writes a file as D4RL lays out that of the preset, and imports it under the name the preset has."""
    name = load_preset(preset)["dataset"]["name"]
    observation_size, action_size = next(sizes for task, sizes in _SIZES.items() if preset.startswith(task))
    generator = np.random.default_rng(0)
    num_steps = 12
    observations = generator.normal(size=(num_steps, observation_size)).astype(np.float32)
    timeouts = np.zeros(num_steps, bool)
    timeouts[[5, 11]] = True
    with h5py.File(folder / f"{name}.hdf5", "w") as file:
        file["observations"] = observations
        file["actions"] = generator.uniform(-1, 1, (num_steps, action_size)).astype(np.float32)
        file["rewards"] = generator.uniform(0, 1, num_steps).astype(np.float32)
        file["terminals"] = np.zeros(num_steps, bool)
        file["timeouts"] = timeouts
        if "-v2" in name:  # those of MuJoCo tell more
            file["next_observations"] = observations + 0.1
            file["infos/action_log_probs"] = generator.normal(size=num_steps).astype(np.float32)
    import_from(str(folder / f"{name}.hdf5"))
    return name


def test_there_are_twenty():
    """Nine of Gym-MuJoCo, six mazes of the ant, two of Adroit, three kitchens."""
    counts = [sum(name.startswith(task) for name in offline_presets()) for task in _SIZES]
    assert counts == [3, 3, 3, 6, 2, 3]


@pytest.mark.parametrize("preset", offline_presets())
def test_preset_learns_from_a_file_of_d4rl(preset, tmp_path):
    """With every algorithm and in both sizes; where there is an environment its sizes are the dataset's."""
    name = _import_file(preset, tmp_path)
    for algorithm in OFFLINE_ALGORITHMS:
        sections = load_preset(preset, overrides=[f"run.algorithm={algorithm}"])
        config, settings = build_config(sections)
        assert settings.algorithm == algorithm
        assert config.part(DatasetConfig).name == name
        if preset.startswith("kitchen"):
            assert config.env is None and settings.num_evaluation_episodes == 0
    build_config(load_preset(preset, "cluster"))
    dataset = load_dataset(name)
    learning = build_part(LearningConfig, config.learning_options | _TINY)
    trainer = OfflineTrainer(dataset.observations.shape[1], dataset.actions.shape[1], learning, 0)
    sampler = TransitionSampler(dataset, config.part(DatasetConfig).reward_transform)
    metrics = trainer.update(sampler.sample(4, np.random.default_rng(0)))
    assert metrics["num_updates"] == 1


def test_blocks_hold_the_published_settings(tmp_path):
    """Those of Ding & Jin and of Wang et al., which differ for one task."""
    _import_file("antmaze_umaze_diverse", tmp_path)
    weights = {}
    for algorithm in ("consistency_ac", "diffusion_ql"):
        overrides = [f"run.algorithm={algorithm}"]
        config, settings = build_config(load_preset("antmaze_umaze_diverse", overrides=overrides))
        learning = config.part(LearningConfig)
        weights[algorithm] = (learning.q_weight, learning.max_q_backup_actions, learning.num_sampling_steps)
    assert weights == {"consistency_ac": (0.01, 10, 2), "diffusion_ql": (2.0, 10, 5)}
    assert config.part(DatasetConfig).reward_transform == "antmaze"
    assert settings.max_updates == learning.curriculum_updates == 1_000_000


def test_a_dataset_that_is_not_there_is_named():
    """In one line, before anything starts."""
    with pytest.raises(ValueError, match=r"`dataset\.name` must be a dataset in .* got 'hopper-medium-v2'"):
        build_config(load_preset("hopper_medium"))


@pytest.mark.parametrize(
    ("preset", "num_observations"), [("antmaze_large_play", 29), ("pen_human", 45), ("walker2d_medium", 17)]
)
def test_environment_has_the_observations_of_the_data(preset, num_observations):
    """Those that gymnasium-robotics brings are put into D4RL's order."""
    from distill_rl.envs import make_env

    environment = load_preset(preset)["environment"]
    env = make_env(environment["env"], env_config=environment.get("env_config"))
    assert env.observation_space.shape == (num_observations,)
    env.close()
