"""Which simulator an environment gets."""

import re

import pytest

from actors.simulators import (
    DataCopySimulator,
    DeepcopySimulator,
    MujocoSimulator,
    make_simulator,
)
from distill_rl.envs import make_env


@pytest.mark.parametrize(
    ("env_id", "simulator_type", "reason"),
    [
        ("dm_control/cheetah-run-v0", MujocoSimulator, "CheetahTask"),
        ("dm_control/walker-walk-v0", MujocoSimulator, "WalkerTask"),
        ("dm_control/reacher-hard-v0", MujocoSimulator, "ReacherTask"),
        ("HalfCheetah-v5", MujocoSimulator, "HalfCheetahTask"),
        ("Hopper-v5", MujocoSimulator, "HopperTask"),
        ("Pusher-v5", MujocoSimulator, "PusherTask"),
        ("Ant-v5", DataCopySimulator, "Ant-v5.*no vectorised task"),
        ("Hopper-v4", DataCopySimulator, "Hopper-v4.*no vectorised task"),
        ("Reacher-v5", DataCopySimulator, "Reacher-v5.*no vectorised task"),
        (
            "dm_control/humanoid-run_pure_state-v0",
            DataCopySimulator,
            "humanoid-run_pure_state.*no vectorised task",
        ),
        ("dm_control/quadruped-walk-v0", DataCopySimulator, "quadruped-walk.*no vectorised task"),
        ("Pendulum-v1", DeepcopySimulator, "Pendulum-v1.*no MuJoCo model"),
        ("MountainCarContinuous-v0", DeepcopySimulator, "no MuJoCo model"),
    ],
)
def test_the_fastest_exact_simulator_is_chosen(env_id: str, simulator_type: type, reason: str) -> None:
    """Native for vectorised tasks, data copies for other MuJoCo ones, else deep copies; it says why."""
    simulator = make_simulator(make_env(env_id))
    assert type(simulator) is simulator_type
    assert "\n" not in simulator.description
    assert re.search(reason, simulator.description), simulator.description


def test_threads_reach_the_native_simulator() -> None:
    """The number of threads is passed on, and checked whatever the simulator."""
    assert "2 threads" in make_simulator(make_env("Hopper-v5"), num_threads=2).description
    for env_id in ("Hopper-v5", "Pendulum-v1"):
        with pytest.raises(ValueError, match="`num_threads` must be at least 1, got 0"):
            make_simulator(make_env(env_id), num_threads=0)
