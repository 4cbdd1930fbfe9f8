"""One training of one offline method, in a process of its own.

python -m distill_rl.cli.experiments.offline_run SPEC FOLDER
"""

import os

# Before anything that reads them: one thread for each run.
os.environ.setdefault("MUJOCO_GL", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.evaluation import evaluate_policy
from distill_rl.algorithms.offline_config import acting_settings
from distill_rl.algorithms.options import build_part
from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.machine import describe_machine
from distill_rl.datasets.scores import find_reference, normalized_score
from distill_rl.datasets.store import load_dataset
from distill_rl.envs import make_env
from distill_rl.policies.loading import LoadedPolicy
from learners.offline.config import LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionSampler, observation_statistics

_MAX_ENVS = 10
_NUM_TIMED_ACTIONS = 200


@dataclasses.dataclass(frozen=True)
class OfflineSpec:
    """What to train.

    Attributes:
      part: of the experiment.
      label: of the method, for tables.
      task: of the experiment.
      env: Gymnasium id to evaluate in.
      dataset: to learn from.
      seed: of everything random.
      max_updates: updates in all.
      evaluation_updates: updates between two evaluations.
      num_episodes: of each evaluation.
      learning: fields of `LearningConfig`.
    """

    part: str
    label: str
    task: str
    env: str
    dataset: str
    seed: int
    max_updates: int
    evaluation_updates: int
    num_episodes: int
    learning: Mapping[str, Any]


def train_offline(spec: OfflineSpec) -> list[Row]:
    """Trains and evaluates along the way.

    Returns:
      One row for each evaluation: `updates`, `train_sec` (cpu-seconds of updates alone), `behaviour_loss`
      (mean since the last row), `episode_return`, `score` on D4RL's scale, `action_msec` (cpu-milliseconds
      for one action of one state), and the specification's own fields.
    """
    torch.set_num_threads(1)
    dataset = load_dataset(spec.dataset)
    config = build_part(LearningConfig, spec.learning)
    sampler = TransitionSampler(dataset)
    seeds = np.random.SeedSequence(spec.seed).generate_state(2)
    generator = np.random.default_rng(int(seeds[0]))
    trainer = OfflineTrainer(dataset.observations.shape[1], dataset.actions.shape[1], config, int(seeds[1]))
    trainer.set_statistics(*observation_statistics(dataset), len(dataset))
    reference = find_reference(dataset.metadata)
    envs = [make_env(spec.env) for _ in range(min(spec.num_episodes, _MAX_ENVS))]
    own = {name: getattr(spec, name) for name in ("part", "label", "task", "dataset", "seed")}
    rows, train_sec, losses = [], 0.0, []
    machine = describe_machine()
    while trainer.num_updates + trainer.num_skipped_updates < spec.max_updates:
        start = time.process_time()
        for _ in range(spec.evaluation_updates):
            losses.append(trainer.update(sampler.sample(config.batch_size, generator))["behaviour_loss"])
        train_sec += time.process_time() - start
        policy = LoadedPolicy(
            trainer.ema.policy, {"acting": acting_settings(config)}, critic=trainer.ema.critic
        )
        result = evaluate_policy(policy.act, envs, spec.num_episodes, spec.seed)
        rows.append(
            {
                **own,
                "updates": trainer.num_updates,
                "train_sec": train_sec,
                "behaviour_loss": float(np.mean(losses)),
                "episode_return": result.mean_return,
                "score": None if reference is None else normalized_score(result.mean_return, reference),
                "action_msec": _time_action(policy, dataset.observations[:1]),
                "machine": machine,
            }
        )
        losses = []
    for env in envs:
        env.close()
    return rows


def _time_action(policy: LoadedPolicy, observation: np.ndarray) -> float:
    """Returns cpu-milliseconds of one action of one state."""
    policy.act(observation)
    start = time.process_time()
    for _ in range(_NUM_TIMED_ACTIONS):
        policy.act(observation)
    return 1e3 * (time.process_time() - start) / _NUM_TIMED_ACTIONS


def run_here(spec: Mapping[str, Any], folder: Path) -> None:
    """Runs a specification in this process and writes its rows into a folder."""
    save_result(folder, spec, train_offline(OfflineSpec(**spec)))


if __name__ == "__main__":
    run_here(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
