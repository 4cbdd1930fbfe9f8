"""Simulates any MuJoCo environment by copying its `MjData` and calling its own `step`."""

import copy
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from actors.simulators.attributes import Attributes, attribute_holders, copy_attributes
from actors.simulators.clone import clone_env
from actors.simulators.dm_control_task import dm_control_environment
from actors.simulators.live_env import model_and_data
from actors.simulators.model_edits import Edits, ModelEdits
from actors.simulators.row_simulator import RowSimulator, env_name, lift_time_limits
from actors.stepping import EnvStep

_DIVERGENCE_WARNINGS = [
    mujoco.mjtWarning.mjWARN_BADQPOS.value,
    mujoco.mjtWarning.mjWARN_BADQVEL.value,
    mujoco.mjtWarning.mjWARN_BADQACC.value,
]


class SavedPhysics:
    """A state of the physics and of the Python objects around it.

    Its `MjData` goes back to the simulator, to be written over, when nothing refers to the state any more.
    """

    __slots__ = ("attributes", "data", "edits", "pool")

    def __init__(self, data: mujoco.MjData, attributes: Attributes, edits: Edits, pool: list[mujoco.MjData]):
        self.data = data
        self.attributes = attributes
        self.edits = edits
        self.pool = pool

    def __del__(self) -> None:
        self.pool.append(self.data)


class DataCopySimulator(RowSimulator):
    """A `Simulator` of MuJoCo environments without a vectorised task: Ant, Humanoid, dm_control's dog, ...

    A state is a copy of `MjData` (all of it: derived quantities that lag behind the state are part of what
    rewards read), of the Python attributes of wrappers, environment and task, and of what the episode changed
    in its model. Random generators are no part of it: an environment whose steps are random draws other
    numbers than the live one. Nor are changes that a step makes to the model.
    """

    def __init__(self, env: gym.Env):
        """Builds a private copy of a live environment, which itself is never touched.

        Raises:
          ValueError: if it is no MuJoCo environment, cannot be copied, or was not built by `make_env`.
        """
        if not is_copyable(env):
            raise ValueError(f"`env` must be a MuJoCo environment, got {env}")
        super().__init__(
            env,
            f"mj_copyData and the environment's own step ({env_name(env)}, 1 thread): "
            "it has a MuJoCo model, but no vectorised task",
        )
        self._env = _private_env(env)
        self._model, self._data = _handles(self._env)
        # A diverged state must stay visible: by default MuJoCo resets it silently.
        self._model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET.value
        self._holders = attribute_holders(self._env)
        self._edits = ModelEdits(self._model)
        self._warning_counts = self._data.warning.number
        self._pool: list[mujoco.MjData] = []
        self._present_edits: Edits = {}

    def _save_live(self, env: gym.Env) -> SavedPhysics:
        model, data = _handles(env)
        return self._new_state(data, attribute_holders(env), self._edits.find(model))

    def _save(self, env: gym.Env) -> SavedPhysics:
        return self._new_state(self._data, self._holders, self._present_edits)

    def _new_state(self, data: mujoco.MjData, holders: Attributes, edits: Edits) -> SavedPhysics:
        copied = self._pool.pop() if self._pool else mujoco.MjData(self._model)
        mujoco.mj_copyData(copied, self._model, data)
        attributes = [copy_attributes(holder) for holder in holders]
        return SavedPhysics(copied, attributes, edits, self._pool)

    def _restore(self, saved: SavedPhysics) -> gym.Env:
        self._edits.apply(saved.edits)
        self._present_edits = saved.edits
        mujoco.mj_copyData(self._data, self._model, saved.data)
        for holder, attributes in zip(self._holders, saved.attributes, strict=True):
            holder.update(copy_attributes(attributes))
        return self._env

    def _step(self, env: gym.Env, action: np.ndarray) -> EnvStep | None:
        before = self._warning_counts[_DIVERGENCE_WARNINGS]
        outcome = super()._step(env, action)
        return outcome if np.array_equal(self._warning_counts[_DIVERGENCE_WARNINGS], before) else None


def is_copyable(env: gym.Env) -> bool:
    """Returns whether the state of an environment is in one `MjData` and in attributes that are known.

    So it is with Gymnasium's `MujocoEnv` and the like, and with dm_control's suite (not with its composer).
    """
    is_dm_control = hasattr(env.unwrapped, "physics")
    return model_and_data(env) is not None and (not is_dm_control or dm_control_environment(env) is not None)


def _handles(env: gym.Env) -> tuple[mujoco.MjModel, mujoco.MjData]:
    handles = model_and_data(env)
    assert handles is not None
    return handles


def _private_env(env: gym.Env) -> gym.Env:
    """Returns a copy with its own model, which renders nothing and has no time limit."""
    base: Any = env.unwrapped
    environment = dm_control_environment(env)
    if environment is not None:
        private = clone_env(env)
        physics: Any = private.get_wrapper_attr("physics")
        # dm_control keeps no attribute of the physics when it copies them.
        physics.legacy_step = environment.physics.legacy_step
    else:
        model = copy.copy(base.model)
        memo = {id(base.model): model, id(base.data): mujoco.MjData(model)}
        memo[id(vars(base).get("mujoco_renderer"))] = None
        private = clone_env(env, memo)
    private.unwrapped.render_mode = None
    lift_time_limits(private)
    return private
