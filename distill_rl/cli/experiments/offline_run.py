"""One training of one offline method, in a process of its own.

python -m distill_rl.cli.experiments.offline_run SPEC FOLDER
"""

import os

# Before anything that reads them: one thread for each run.
os.environ.setdefault("MUJOCO_GL", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.experiments.offline_contenders import make_contender
from distill_rl.cli.experiments.offline_spec import OfflineSpec
from distill_rl.cli.machine import describe_machine
from distill_rl.datasets.scores import find_reference, normalized_score
from distill_rl.datasets.store import load_dataset
from distill_rl.envs import make_env

_MAX_ENVS = 10


def train_offline(spec: OfflineSpec) -> list[Row]:
    """Trains and evaluates along the way.

    Returns:
      One row for each evaluation and way of acting: `updates`, `train_sec` (cpu-seconds of updates alone),
      `behaviour_loss`
      (mean since the last row; None where there is none), `episode_return`, `score` on D4RL's scale,
      `action_msec` (cpu-milliseconds for one action of one state), and the specification's own fields.
    """
    torch.set_num_threads(1)
    dataset = load_dataset(spec.dataset)
    reference = find_reference(dataset.metadata)
    contender = make_contender(spec, dataset)
    envs = [make_env(spec.env) for _ in range(min(spec.num_episodes, _MAX_ENVS))]
    own = {name: getattr(spec, name) for name in ("part", "task", "dataset", "seed")}
    rows: list[Row] = []
    train_sec, machine = 0.0, describe_machine()
    try:
        for updates in range(spec.evaluation_updates, spec.max_updates + 1, spec.evaluation_updates):
            start = time.process_time()
            loss = contender.learn(spec.evaluation_updates)
            train_sec += time.process_time() - start
            for label, acting in {spec.label: {}, **spec.other_acting}.items():
                policy = contender.policy(acting)
                result = policy.evaluate(envs, spec.num_episodes, spec.seed)
                score = None if reference is None else normalized_score(result.mean_return, reference)
                rows.append(
                    {
                        **own,
                        "label": label,
                        "updates": updates,
                        "train_sec": train_sec,
                        "behaviour_loss": loss,
                        "episode_return": result.mean_return,
                        "score": score,
                        "action_msec": policy.time_action(),
                        "machine": machine,
                    }
                )
    finally:
        contender.close()
        for env in envs:
            env.close()
    return rows


def run_here(spec: Mapping[str, Any], folder: Path) -> None:
    """Runs a specification in this process and writes its rows into a folder."""
    save_result(folder, spec, train_offline(OfflineSpec(**spec)))


if __name__ == "__main__":
    run_here(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
