"""Training in one process that keeps every environment step, and the policies along the way."""

import copy
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from ray.tune.registry import register_env

from actors.evaluation import evaluate_policy
from actors.recording import StepRecorder
from actors.step_log import StepLog
from distill_rl.algorithms.distill import Distill
from distill_rl.checks import check_at_least_one
from distill_rl.cli.metrics import collect_metrics
from distill_rl.cli.progress import ProgressLine
from distill_rl.cli.ray_session import ray_session
from distill_rl.cli.sections import build_config
from distill_rl.cli.settings import DISTILL
from distill_rl.envs import make_env
from distill_rl.policies.distill_networks import StudentNetworks
from distill_rl.policies.loaded import LoadedPolicy
from distill_rl.policies.loading import save_policy

MEDIUM_FRACTION = 1.0 / 3.0
"""A policy is medium from this share of the expert's return on, as in D4RL."""

_ENV_NAME = "distill_rl_recorded"
_logs: dict[str, StepLog] = {}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A policy of a training, and how good it is.

    Attributes:
      env_steps: environment steps of training before it.
      mean_return: without noise.
      networks: its weights.
    """

    env_steps: int
    mean_return: float
    networks: StudentNetworks

    def save(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Saves the policy; see `save_policy`."""
        save_policy(self.networks.policy, folder, dict(metadata), self.networks.encoder)


class PolicyChoice(NamedTuple):
    """Indices of the policies that datasets are made of."""

    medium: int
    expert: int


def choose_policies(mean_returns: Sequence[float], fraction: float = MEDIUM_FRACTION) -> PolicyChoice:
    """Chooses the best policy of a training, and the first one with a share of its return.

    Args:
      mean_returns: of the policies in order, the untrained one first.
      fraction: that share.

    Returns:
      Their indices.

    Raises:
      ValueError: if the training was too short: no return is positive, the untrained policy has that share
        already, or the best policy is the first one that has it.
    """
    expert = int(np.argmax(mean_returns))
    best = mean_returns[expert]
    if not best > 0.0:
        raise ValueError(
            f"training must go on until a return is positive, got at most {best:.1f}; more steps?"
        )
    medium = int(np.argmax(np.asarray(mean_returns) >= fraction * best))
    if medium == 0:
        raise ValueError(
            f"training must go on until the best return is {1.0 / fraction:.3g} times the untrained policy's "
            f"{mean_returns[0]:.1f}, got {best:.1f}; more steps?"
        )
    if medium == expert:
        raise ValueError(
            f"training must go on until a policy is better than the medium one, got {best:.1f} for both; "
            "train longer (--training-steps), or judge policies more often (--evaluation-steps)?"
        )
    return PolicyChoice(medium, expert)


def train_recorded(
    sections: Mapping[str, Mapping[str, Any]],
    *,
    num_steps: int,
    evaluation_steps: int,
    num_episodes: int,
    progress: ProgressLine,
) -> tuple[StepLog, list[Evaluation]]:
    """Trains, and keeps every step of the environments that are searched in, whoever acted.

    Deterministic for a seed: it is limited by steps, all in this process. Ray is started if it is not there.

    Args:
      sections: resolved configuration, see `distill_rl.cli.presets`.
      num_steps: environment steps of the training; the last iteration may go a little beyond.
      evaluation_steps: about every so many steps the policy is evaluated and kept, and at the start and end.
      num_episodes: of each evaluation.
      progress: where it shows.

    Returns:
      The steps, and the policies in order.

    Raises:
      ValueError: for a mistake in the configuration, several processes, or an action repeat.
    """
    check_at_least_one("num_steps", num_steps)
    check_at_least_one("evaluation_steps", evaluation_steps)
    env_id, env_config = check_sections(sections)
    config, _ = build_config(sections)
    envs = [make_env(env_id, env_config=env_config) for _ in range(num_episodes)]
    with _recorded(envs[0], env_id) as (name, log), ray_session():
        config.environment(name)
        algorithm = config.build_algo()
        assert isinstance(algorithm, Distill)
        progress.note(algorithm.description)
        evaluations: list[Evaluation] = []

        def evaluate() -> None:
            networks = copy.deepcopy(algorithm.env_runner.module.networks).eval()
            policy = LoadedPolicy(networks.policy, {}, networks.encoder)
            with torch.inference_mode():
                result = evaluate_policy(policy.act, envs, num_episodes)
            evaluations.append(Evaluation(len(log), result.mean_return, networks))
            progress.note(f"{len(log):,} steps: return {result.mean_return:.1f} without noise")

        start_sec = time.monotonic()
        try:
            evaluate()
            with progress:
                while len(log) < num_steps:
                    metrics = collect_metrics(algorithm.train())
                    progress.update(metrics | {"elapsed_sec": time.monotonic() - start_sec})
                    if len(log) >= min(num_steps, evaluations[-1].env_steps + evaluation_steps):
                        evaluate()
        finally:
            algorithm.stop()
            for env in envs:
                env.close()
    return log, evaluations


def check_sections(sections: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Checks that a training can be recorded. Ray is not started.

    Args:
      sections: resolved configuration.

    Returns:
      Id and settings of the environment.

    Raises:
      ValueError: for a mistake in the configuration, another algorithm, several processes, or an action
        repeat.
    """
    algorithm = sections.get("run", {}).get("algorithm", DISTILL)
    if algorithm != DISTILL:
        raise ValueError(f"`run.algorithm` must be {DISTILL} here, which takes steps; got {algorithm!r}")
    build_config(sections)
    environment = sections["environment"]
    env_config = dict(environment.get("env_config", {}))
    action_repeat = env_config.pop("action_repeat", 1)
    if action_repeat != 1:
        raise ValueError(f"`environment.env_config.action_repeat` must be 1 here, got {action_repeat}")
    for section, option in (("env_runners", "num_env_runners"), ("learners", "num_learners")):
        number = sections.get(section, {}).get(option, 0)
        if number != 0:
            raise ValueError(f"`{section}.{option}` must be 0, to record in one process; got {number}")
    return environment["env"], env_config


@contextmanager
def _recorded(env: gym.Env, env_id: str) -> Iterator[tuple[str, StepLog]]:
    """Registers an environment that records, under a name of its own; gives that name and the log.

    Ray hands copies of what is registered on, so the log is found by its name, in this process only.
    """
    assert env.observation_space.shape is not None and env.action_space.shape is not None
    name = f"{_ENV_NAME}_{len(_logs)}"
    _logs[name] = StepLog(env.observation_space.shape[0], env.action_space.shape[0])
    register_env(name, functools.partial(_make_recorded, name, env_id))
    try:
        yield name, _logs[name]
    finally:
        del _logs[name]


def _make_recorded(name: str, env_id: str, context: Mapping[str, Any]) -> gym.Env:
    return StepRecorder(make_env(env_id, env_config=dict(context)), _logs[name])
