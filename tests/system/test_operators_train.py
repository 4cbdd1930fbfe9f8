"""Every operator in the loop: sets, updates and a new version of the policy."""

import numpy as np
import pytest
from system_config import make_config

from actors.operators.registry import OPERATORS

pytestmark = pytest.mark.ray

_SETTINGS = {
    "root_bandit": {},
    "gumbel_muzero": {"num_simulations": 4},
    "muzero": {"num_simulations": 4},
    "sampled_muzero": {"num_simulations": 4, "num_centres": 4},
    "regularized_policy": {"num_simulations": 4},
    "mppi": {"horizon_steps": 2, "hold_steps": 1},
    "cem": {"horizon_steps": 2, "hold_steps": 1, "num_elites": 2},
    "policy": {},
}


@pytest.mark.parametrize("name", _SETTINGS)
def test_operator_trains(ray_cluster, name):
    """The learner takes its sets, whatever their convention, and every loss is finite."""
    config = make_config().search(operator=name, **_SETTINGS[name])
    config.reporting(min_sample_timesteps_per_iteration=128)
    algorithm = config.build_algo()
    try:
        loop = algorithm.train()["loop"]
    finally:
        algorithm.stop()
    assert loop["env_steps"] >= 128 and loop["updates"] > 0
    assert loop["skipped_updates"] == 0 and np.isfinite(loop["search_kl"])


def test_all_operators_are_here():
    """None is forgotten."""
    assert set(OPERATORS) == {*_SETTINGS, "critic"}
