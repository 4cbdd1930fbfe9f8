"""RLlib's environment runner on our environments."""

from typing import Any

import gymnasium as gym
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.registry import ENV_CREATOR, _global_registry

from distill_rl.envs import make_env


def make_config_env(config: Any, worker_index: int = 0) -> gym.Env:
    """Builds one environment of an `AlgorithmConfig`: an id, a class, or a name registered with Ray Tune.

    Raises:
      ValueError: if there is no environment, it is unknown, or it lacks vector observations or bounded
        actions.
    """
    if config.env is None:
        raise ValueError("`environment` must be set, as in `config.environment('Pendulum-v1')`; got None")
    options = dict(config.env_config)
    action_repeat = options.pop("action_repeat", 1)
    if isinstance(config.env, str) and _global_registry.contains(ENV_CREATOR, config.env):
        creator = _global_registry.get(ENV_CREATOR, config.env)
        context = EnvContext(options, worker_index=worker_index)
        return make_env(lambda: creator(context), action_repeat=action_repeat)
    return make_env(config.env, action_repeat=action_repeat, env_config=options)


class PolicyEnvRunner(SingleAgentEnvRunner):
    """Samples episodes as RLlib does, from environments that `make_config_env` builds."""

    env: Any  # RLlib's vector environment

    def make_env(self) -> None:
        """Builds RLlib's vector environment."""
        if self.env is not None:
            self.env.close()
        self.num_envs = self._num_vector_envs()
        vector_env = gym.vector.SyncVectorEnv([self._make_one_env] * self.num_envs)
        self.env = gym.wrappers.vector.DictInfoToList(vector_env)
        self._needs_initial_reset = True

    def _num_vector_envs(self) -> int:
        num_envs: int = self.config.num_envs_per_env_runner
        return num_envs

    def _make_one_env(self) -> gym.Env:
        return make_config_env(self.config, self.worker_index or 0)
