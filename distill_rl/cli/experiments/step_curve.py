"""Returns over environment steps of one training in one process, which a seed settles.

python -m distill_rl.cli.experiments.step_curve SPEC FOLDER
"""

import os

# Before anything that reads them: one thread for each run.
os.environ.setdefault("MUJOCO_GL", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from distill_rl.checks import check_positive
from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.contenders import DistillContender, preset_sections
from distill_rl.cli.experiments.curves import EVALUATION_SEED
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.machine import describe_machine
from distill_rl.cli.ray_session import ray_session
from distill_rl.envs import make_env

_ONE_PROCESS = {"env_runners.num_env_runners": 0, "learners.num_learners": 0}


@dataclasses.dataclass(frozen=True)
class StepCurveSpec:
    """One training of a preset.

    Attributes:
      preset: its name.
      seed: of the training.
      num_env_steps: length of the training, in environment steps.
      evaluation_env_steps: between evaluations.
      num_episodes: episodes of an evaluation, by name of the policy (`student`, `search`).
      settings: changes to the preset, by `section.key`.

    Raises:
      ValueError: if a number of steps is not positive.
    """

    preset: str
    seed: int
    num_env_steps: int
    evaluation_env_steps: int
    num_episodes: Mapping[str, int]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check_positive("num_env_steps", self.num_env_steps)
        check_positive("evaluation_env_steps", self.evaluation_env_steps)


def record_step_curve(spec: StepCurveSpec) -> list[Row]:
    """Trains, and evaluates at the start, at every interval and at the end.

    Args:
      spec: of the run.

    Returns:
      One row for each evaluation and policy: steps so far (of the environments, and those that searches made
      in the simulator or in a model), cpu-seconds of training, and the return.
    """
    torch.set_num_threads(1)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    own = {
        "debugging.seed": spec.seed,
        # Iterations end by steps, not by the clock.
        "reporting.min_time_s_per_iteration": 0,
        "reporting.min_sample_timesteps_per_iteration": spec.evaluation_env_steps,
    }
    sections = preset_sections(spec.preset, {**_ONE_PROCESS, **own, **spec.settings})
    environment = sections["environment"]
    action_repeat = environment["env_config"]["action_repeat"]
    with ray_session():
        contender = DistillContender(sections)
        envs = [
            make_env(environment["env"], action_repeat=action_repeat)
            for _ in range(max(spec.num_episodes.values()))
        ]
        try:
            return _record(contender, spec, envs, action_repeat)
        finally:
            contender.stop()
            for env in envs:
                env.close()


def _record(
    contender: DistillContender, spec: StepCurveSpec, envs: list[gym.Env], action_repeat: int
) -> list[Row]:
    rows: list[Row] = []
    train_sec, machine = 0.0, describe_machine()
    while True:
        counts = contender.counts()
        for policy, num_episodes in spec.num_episodes.items():
            result = contender.policies[policy](envs, num_episodes, EVALUATION_SEED)
            rows.append(
                {
                    "preset": spec.preset,
                    "policy": policy,
                    "seed": spec.seed,
                    "env_steps": counts.env_steps,
                    "searched_steps": counts.simulator_steps - counts.env_steps * action_repeat,
                    "train_cpu_sec": train_sec,
                    "episode_return": result.mean_return,
                    "num_failed_episodes": result.num_failed,
                    "machine": machine,
                }
            )
        if counts.env_steps >= spec.num_env_steps:
            return rows
        start = time.process_time()
        contender.train()
        train_sec += time.process_time() - start


def main(spec_path: Path, folder: Path) -> None:
    """Runs the specification in a file and writes its rows into a folder."""
    spec = json.loads(spec_path.read_text(encoding="utf-8"))
    save_result(folder, spec, record_step_curve(StepCurveSpec(**spec)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
