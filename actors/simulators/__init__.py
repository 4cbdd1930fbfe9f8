"""Models of an environment that a search can step."""

from actors.simulators.base import ActionFn, Rollout, Simulator, SimulatorStep
from actors.simulators.data_copy import DataCopySimulator
from actors.simulators.deepcopy import DeepcopySimulator
from actors.simulators.factory import make_simulator
from actors.simulators.mujoco import MujocoSimulator

__all__ = [
    "ActionFn",
    "DataCopySimulator",
    "DeepcopySimulator",
    "MujocoSimulator",
    "Rollout",
    "Simulator",
    "SimulatorStep",
    "make_simulator",
]
