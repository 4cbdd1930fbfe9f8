"""The presets of teacher, reward model and student: the published settings, and the small size."""

import numpy as np
import pytest

from distill_rl.cli.presets import load_preset, preset_names
from distill_rl.cli.sections import build_config
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import save_dataset
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline_config import ChunkActingConfig, StagesConfig

# Duan et al. (2025), Appendices B.2 and B.3; reward weights of medium, medium-replay and medium-expert.
_PUBLISHED = {
    "hopper": (0.997, (3.0, 1.0, 0.0)),
    "walker2d": (0.99, (0.4, 1.0, 0.2)),
    "half_cheetah": (0.9, (0.5, 1.0, 0.0)),
}
_KINDS = ("medium", "medium_replay", "medium_expert")


@pytest.fixture(autouse=True)
def _datasets(tmp_path, monkeypatch):
    """Two steps under the name of every dataset: presets are checked against what they name."""
    monkeypatch.setenv("DISTILL_RL_DATASETS", str(tmp_path))
    for task in ("hopper", "walker2d", "halfcheetah"):
        for kind in _KINDS:
            name = f"{task}-{kind.replace('_', '-')}-v2"
            dataset = OfflineDataset(
                observations=np.zeros((2, 3), np.float32),
                actions=np.zeros((2, 1), np.float32),
                rewards=np.zeros(2, np.float32),
                next_observations=np.zeros((2, 3), np.float32),
                terminals=np.zeros(2, bool),
                is_transition=np.ones(2, bool),
                episode_ends=np.array([2]),
                metadata={"name": name, "source": "here"},
            )
            save_dataset(dataset, tmp_path / name)


@pytest.mark.parametrize("task", _PUBLISHED)
def test_presets_hold_the_published_settings(task):
    """Weights of the losses, discount, penalty, network, levels, and how they act; for both machines."""
    discount, weights = _PUBLISHED[task]
    for kind, weight in zip(_KINDS, weights):
        for size in ("laptop", "cluster"):
            config, settings = build_config(load_preset(f"ractd_{task}_{kind}", size))
            expected = TrajectoryConfig(
                discount=discount,
                reward_weight=weight,
                termination_penalty=100.0,
                num_steps=16,
                level_sizes=(512, 1024, 2048),
                embedding_size=128,
                num_levels=80,
            )
            assert config.part(TrajectoryConfig) == expected
            assert config.part(ChunkActingConfig) == ChunkActingConfig(teacher_sampler="heun")
            assert config.part(StagesConfig).stages == ("teacher", "reward", "student")
            assert settings.algorithm == "ractd" and settings.max_updates is None
            assert config.num_learners == (1 if size == "cluster" else 0)


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("ractd_")])
def test_the_small_size_keeps_the_task(name):
    """Discount, penalty and noise; a reward weighs a hundredth of the published, or has its own."""
    large, small = (
        build_config(load_preset(name, size))[0].part(TrajectoryConfig) for size in ("laptop", "small")
    )
    assert small.level_sizes == (32, 64) and small.num_steps == 8
    for field in ("discount", "termination_penalty", "sigma_min", "sigma_max", "sigma_data"):
        assert getattr(small, field) == getattr(large, field)
    own = {"ractd_hopper_medium_expert": 0.03}  # published without rewards
    assert small.reward_weight == pytest.approx(own.get(name, 0.01 * large.reward_weight))


def test_other_presets_have_no_small_size():
    """It would be the laptop's under another name."""
    with pytest.raises(ValueError, match="`size` must be one of cluster, laptop; got 'small'"):
        load_preset("hopper_medium", "small")
