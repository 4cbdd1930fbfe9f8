"""The algorithms: where actors and learners meet."""

from ray import tune

from distill_rl.algorithms.cm_ppo import CMPPO
from distill_rl.algorithms.cm_ppo_config import CMPPOConfig
from distill_rl.algorithms.distill import Distill
from distill_rl.algorithms.distill_config import DistillConfig
from distill_rl.algorithms.offline import (
    ConsistencyAC,
    ConsistencyBC,
    CriticDistill,
    DiffusionBC,
    DiffusionQL,
    GaussianBC,
    Offline,
)
from distill_rl.algorithms.offline_config import OfflineConfig
from distill_rl.algorithms.ractd import RACTD
from distill_rl.algorithms.ractd_config import RACTDConfig

__all__ = [
    "CMPPO",
    "RACTD",
    "CMPPOConfig",
    "Distill",
    "DistillConfig",
    "Offline",
    "OfflineConfig",
    "RACTDConfig",
]

_METHODS = (GaussianBC, ConsistencyBC, DiffusionBC, ConsistencyAC, DiffusionQL, CriticDistill)

# `tune.Tuner("Distill")` finds the class by this name.
for _algorithm in (Distill, CMPPO, Offline, RACTD, *_METHODS):
    tune.register_trainable(_algorithm.__name__, _algorithm)
