"""Simulates any Gymnasium environment through `copy.deepcopy`."""

import gymnasium as gym

from actors.simulators.clone import clone_env
from actors.simulators.row_simulator import RowSimulator, env_name, lift_time_limits


class DeepcopySimulator(RowSimulator):
    """A `Simulator` whose states are whole copies of the environment, its random generator included.

    It works for every environment that Python can copy, and is the slowest simulator: each trajectory of a
    rollout costs one copy.
    """

    def __init__(self, env: gym.Env):
        """Checks that the environment can be copied.

        Raises:
          ValueError: if it cannot, or if it was not built by `make_env`.
        """
        clone_env(env)
        reason = "it has no MuJoCo model to copy"
        super().__init__(env, f"deep copies of the environment ({env_name(env)}): {reason}")

    def _save_live(self, env: gym.Env) -> gym.Env:
        clone = clone_env(env)
        lift_time_limits(clone)
        return clone

    def _restore(self, saved: gym.Env) -> gym.Env:
        return clone_env(saved)

    def _save(self, env: gym.Env) -> gym.Env:
        return env
