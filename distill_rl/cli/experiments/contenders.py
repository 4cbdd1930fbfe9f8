"""Methods in training, behind the one interface that learning curves are recorded through."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchSquashedGaussian
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from actors.evaluation import EvaluationResult, evaluate_policy, evaluate_search
from distill_rl.algorithms.distill import Distill
from distill_rl.cli.experiments.baselines import ppo_config, sac_config
from distill_rl.cli.experiments.curves import Contender, CurveSpec, EvaluateFn, StepCounts
from distill_rl.cli.presets import load_preset
from distill_rl.cli.sections import build_config
from distill_rl.policies.distill_networks import StudentNetworks
from distill_rl.policies.search_policy import make_search_policy

_PRESET = "cheetah_run"
_IDLE_TIMEOUT_SEC = 120.0


class DistillContender:
    """`Distill` as a preset has it; evaluates the student and the search."""

    def __init__(self, sections: dict[str, Any]):
        """Starts actors and learner.

        Args:
          sections: of the configuration, with an action repeat.
        """
        config, _ = build_config(sections)
        algorithm = config.build_algo()
        assert isinstance(algorithm, Distill)
        _await_runners(algorithm)
        self._algorithm = algorithm
        self._action_repeat = sections["environment"]["env_config"]["action_repeat"]
        self._config = config
        self.policies: Mapping[str, EvaluateFn] = {
            "student": self._evaluate_student,
            "search": self._evaluate_search,
        }

    def train(self) -> None:
        """Runs one iteration."""
        self._algorithm.train()

    def wait_idle(self) -> None:
        """Waits for the fragments and updates in flight.

        Raises:
          TimeoutError: if they do not end.
        """
        pending = self._algorithm.pending
        if not pending:
            return
        ready, _ = ray.wait(pending, num_returns=len(pending), timeout=_IDLE_TIMEOUT_SEC, fetch_local=False)
        if len(ready) < len(pending):
            raise TimeoutError(f"{len(pending) - len(ready)} calls have not ended in {_IDLE_TIMEOUT_SEC} s")

    def counts(self) -> StepCounts:
        """Returns what training has used so far."""
        metrics = self._algorithm.loop_metrics
        acted = metrics.num_env_steps * self._action_repeat
        return StepCounts(metrics.num_env_steps, metrics.num_simulator_steps + acted)

    def stop(self) -> None:
        """Ends every process and environment."""
        self._algorithm.stop()

    def _networks(self) -> StudentNetworks:
        """Returns the averaged networks of the learner."""
        return _local_module(self._algorithm).networks

    def _evaluate_student(self, envs: Sequence[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        networks = self._networks()

        @torch.no_grad()
        def act_fn(observation: np.ndarray) -> np.ndarray:
            return networks.policy.act(networks.encode(torch.from_numpy(observation))).numpy()

        return evaluate_policy(act_fn, envs, num_episodes, seed)

    def _evaluate_search(self, envs: Sequence[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        networks = self._networks()
        operator = self._config.make_operator(envs[0], networks)
        policy = make_search_policy(networks)
        return evaluate_search(operator, operator.simulator, policy, envs, num_episodes, seed)


class RllibContender:
    """One of RLlib's own algorithms; evaluates the mode of its policy."""

    def __init__(self, config: AlgorithmConfig, spec: CurveSpec):
        """Starts env runners and learner.

        Args:
          config: of the algorithm; the spec's settings apply to it.
          spec: of the run.
        """
        for name, value in spec.settings.items():
            section, _, key = name.partition(".")
            getattr(config, section)(**{key: value})
        self._algorithm = config.build_algo()
        _await_runners(self._algorithm)
        # Nothing else of these algorithms works while the learner in this process does.
        torch.set_num_threads(spec.num_cores)
        self._action_repeat = spec.action_repeat
        self._num_env_steps = 0
        self.policies: Mapping[str, EvaluateFn] = {"policy": self._evaluate}

    def train(self) -> None:
        """Runs one iteration."""
        result = self._algorithm.train()
        self._num_env_steps = int(result[ENV_RUNNER_RESULTS][NUM_ENV_STEPS_SAMPLED_LIFETIME])

    def wait_idle(self) -> None:
        """Does nothing: these algorithms sample and update in turn, and leave no work behind."""

    def counts(self) -> StepCounts:
        """Returns what training has used so far."""
        return StepCounts(self._num_env_steps, self._num_env_steps * self._action_repeat)

    def stop(self) -> None:
        """Ends every process and environment."""
        self._algorithm.stop()

    def _evaluate(self, envs: Sequence[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        return evaluate_policy(mode_policy(self._algorithm), envs, num_episodes, seed)


def preset_sections(preset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sections of a preset with changes.

    Args:
      preset: its name.
      settings: values by `section.key`.
    """
    sections = load_preset(preset)
    for name, value in settings.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    return sections


def _distill(spec: CurveSpec) -> DistillContender:
    own = {
        "environment.env": spec.env,
        "environment.env_config": {"action_repeat": spec.action_repeat},
        "debugging.seed": spec.seed,
    }
    return DistillContender(preset_sections(_PRESET, {**own, **spec.settings}))


CONTENDERS: dict[str, Callable[[CurveSpec], Contender]] = {
    "distill": _distill,
    "sac": lambda spec: RllibContender(sac_config(spec), spec),
    "ppo": lambda spec: RllibContender(ppo_config(spec), spec),
}
"""Methods by name."""


def mode_policy(algorithm: Algorithm) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the policy of the learner in this process, acting without noise.

    A Gaussian acts with its mean, a squashed one with its squashed mean.

    Args:
      algorithm: one of RLlib's own, with a local learner.

    Returns:
      A function of observations `[M, O]` to actions in [-1, 1], `[M, A]`.
    """
    module, normalise_fn = _local_module(algorithm), observation_filter(algorithm)
    distribution_class = module.get_inference_action_dist_cls()

    @torch.no_grad()
    def act_fn(observation: np.ndarray) -> np.ndarray:
        batch = {Columns.OBS: torch.from_numpy(normalise_fn(observation))}
        inputs = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
        distribution = distribution_class.from_logits(inputs)
        if isinstance(distribution, TorchSquashedGaussian):
            # Its own `to_deterministic` leaves the mean unsquashed.
            return torch.tanh(distribution.loc).numpy()
        return distribution.to_deterministic().sample().clamp(-1.0, 1.0).numpy()

    return act_fn


def observation_filter(algorithm: Algorithm) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the normalisation that an algorithm's env runners apply to observations, as it is now.

    Args:
      algorithm: with or without a `MeanStdFilter` among its connectors.

    Returns:
      A function of observations `[M, O]`, which does not count what it is given. The identity if there is no
      filter, or it has seen fewer than two observations.
    """
    runner = algorithm.env_runner
    pipeline = algorithm.env_to_module_connector if runner is None else runner._env_to_module
    filters = [connector for connector in pipeline.connectors if isinstance(connector, MeanStdFilter)]
    states = [state for connector in filters for state in connector.get_state().values()]
    if not states or states[0]["running_stats"][0]["num_pushes"] < 2:
        return lambda observation: observation
    clip = states[0]["clip_by_value"]
    statistics = filters[0]._filters[None].running_stats
    mean, std = statistics.mean.copy(), statistics.std.copy()

    def normalise(observation: np.ndarray) -> np.ndarray:
        return np.clip((observation - mean) / (std + 1e-8), -clip, clip).astype(np.float32)

    return normalise


def _await_runners(algorithm: Algorithm) -> None:
    """Returns when every env runner has started, which can take longer than to build an algorithm."""
    algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.worker_index)


def _local_module(algorithm: Algorithm) -> Any:
    """Returns the module of the learner in this process."""
    return algorithm.learner_group._learner.module[DEFAULT_MODULE_ID]
