"""A teacher, its reward model and their students, in a process of its own.

python -m distill_rl.cli.experiments.ractd_run SPEC FOLDER
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

import gymnasium as gym
import numpy as np
import torch

from actors.evaluation import evaluate_chunks
from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.experiments.ractd_spec import DATA, RactdSpec
from distill_rl.cli.machine import describe_machine
from distill_rl.datasets.scores import find_reference, normalized_score
from distill_rl.datasets.store import load_dataset
from distill_rl.envs import make_env
from distill_rl.policies.chunk_networks import REWARD, STUDENT, TEACHER, ChunkNetworks
from distill_rl.policies.loaded import LoadedChunkPolicy
from learners.offline.transitions import observation_statistics
from learners.trajectory.chunks import ChunkSampler
from learners.trajectory.config import TrajectoryConfig
from learners.trajectory.pipeline import PipelineTrainer, adopt, chunk_network_settings
from learners.trajectory.pipeline_config import ChunkActingConfig, StagesConfig

_TIMED_ACTIONS = 20
_SPREAD_STATES, _SPREAD_DRAWS = 64, 16


def action_spread(
    policy: LoadedChunkPolicy, observations: np.ndarray, num_draws: int, num_steps: int | None = None
) -> float:
    """Returns how far the first actions that a policy draws in one state lie apart.

    The root of their variance, averaged over the dimensions and the states; what Duan et al. (2025),
    Table 12, call sample diversity.

    Args:
      policy: draws as it acts.
      observations: states. Shape `[B, O]`.
      num_draws: in each state, 2 or more.
      num_steps: of the policy; None for those it acts with.

    Raises:
      ValueError: if there is one draw.
    """
    if num_draws < 2:
        raise ValueError(f"`num_draws` must be 2 or more, got {num_draws}")
    drawn = policy.act(np.repeat(observations, num_draws, axis=0), num_steps)
    by_state = drawn.reshape(len(observations), num_draws, -1)
    return float(np.sqrt(by_state.var(axis=1, ddof=1).mean()))


class _Laboratory:
    """One specification, and the rows that it came to so far."""

    def __init__(self, spec: RactdSpec, envs: list[gym.Env]):
        self._spec, self._envs = spec, envs
        self._dataset = load_dataset(spec.dataset)
        self._reference = find_reference(self._dataset.metadata)
        self._statistics = (*observation_statistics(self._dataset), len(self._dataset))
        self._acting = ChunkActingConfig(**spec.acting)
        self._machine = describe_machine()
        states = np.random.default_rng(spec.seed).choice(len(self._dataset), _SPREAD_STATES)
        self._spread_states = np.asarray(self._dataset.observations[states])
        self.rows: list[Row] = []

    def run(self) -> None:
        """Trains and judges everything."""
        self._add(DATA, DATA, self._dataset.episode_returns(), {})
        for label, options in self._spec.teachers.items():
            config = self._config(options)
            stages = {"stages": (TEACHER, REWARD)}
            trainer = self._make(config, stages, {})
            seconds = self._train(trainer, config, None)
            settings = self._acting.of_teacher()
            policy = LoadedChunkPolicy(trainer.ema.teacher, {"acting": settings})
            self._judge(TEACHER, label, policy, seconds, {"updates": trainer.num_updates})
            self._distil(label, options, trainer.get_state())

    def _distil(self, teacher: str, teacher_options: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        spec = self._spec
        for label, options in spec.students.items():
            config = self._config({**teacher_options, **options})
            left = {"teacher_checkpoint": teacher, "reward_checkpoint": teacher}
            trainer = self._make(config, {"stages": (STUDENT,), **left}, state)
            seconds = 0.0
            while trainer.stage is not None:
                seconds += self._train(trainer, config, spec.evaluation_updates)
                policy = LoadedChunkPolicy(trainer.ema.student, {"acting": self._acting.of_student()})
                facts = {
                    "teacher": teacher,
                    "reward_weight": config.reward_weight,
                    "updates": trainer.num_updates,
                    "is_last": trainer.stage is None,
                }
                self._judge(STUDENT, label, policy, seconds, {**facts, "num_jumps": 1})
            for jumps in spec.jumps:
                self._judge(STUDENT, label, policy, seconds, {**facts, "num_jumps": jumps}, jumps)

    def _make(
        self, config: TrajectoryConfig, stages: Mapping[str, Any], state: Mapping[str, Any]
    ) -> PipelineTrainer:
        sizes = self._dataset.observations.shape[1], self._dataset.actions.shape[1]
        networks = ChunkNetworks(*sizes, **chunk_network_settings(config))
        for part in (TEACHER, REWARD) if state else ():
            adopt(networks, part, state, self._spec.dataset)
        settings = StagesConfig(**{**self._spec.stages, **stages})
        return PipelineTrainer(networks, config, settings, self._statistics, self._spec.seed)

    def _train(self, trainer: PipelineTrainer, config: TrajectoryConfig, num_updates: int | None) -> float:
        """Makes updates, all if None; returns their cpu-seconds."""
        generator = np.random.default_rng([self._spec.seed, trainer.num_updates])
        sampler = ChunkSampler(self._dataset, config.num_steps, config.discount, config.termination_penalty)
        start, first = time.process_time(), trainer.num_updates
        while trainer.stage is not None and (
            num_updates is None or trainer.num_updates < first + num_updates
        ):
            trainer.update(sampler.sample(config.batch_size, generator))
        return time.process_time() - start

    def _config(self, options: Mapping[str, Any]) -> TrajectoryConfig:
        return TrajectoryConfig(**{**self._spec.learning, **options})

    def _judge(
        self,
        part: str,
        label: str,
        policy: LoadedChunkPolicy,
        seconds: float,
        facts: Mapping[str, Any],
        num_steps: int | None = None,
    ) -> None:
        is_final = facts.get("is_last", True) and facts.get("num_jumps", 1) == 1
        num_episodes = self._spec.num_episodes if is_final else self._spec.num_progress_episodes
        executor = policy.make_executor(num_steps=num_steps)
        result = evaluate_chunks(executor, self._envs[:num_episodes], num_episodes, self._spec.seed)
        one = np.zeros(policy.policy.observation_size, np.float32)
        policy.act(one, num_steps)  # the first call is slower
        start = time.process_time()
        for _ in range(_TIMED_ACTIONS):
            policy.act(one, num_steps)
        action_msec = 1e3 * (time.process_time() - start) / _TIMED_ACTIONS
        measured = {"train_sec": seconds, "action_msec": action_msec}
        if facts.get("is_last", True):
            measured["action_spread"] = action_spread(policy, self._spread_states, _SPREAD_DRAWS, num_steps)
        self._add(part, label, result.returns, {**measured, **facts})

    def _add(self, part: str, label: str, returns: np.ndarray, facts: Mapping[str, Any]) -> None:
        mean = float(returns.mean())
        score = None if self._reference is None else normalized_score(mean, self._reference)
        own = {name: getattr(self._spec, name) for name in ("task", "dataset", "seed")}
        row = {"part": part, "label": label, **own, "episode_returns": returns.tolist()}
        measured = {"episode_return": mean, "score": score, "machine": self._machine}
        self.rows.append({**row, **measured, **facts})


def train_ractd(spec: RactdSpec) -> list[Row]:
    """Trains and judges.

    Returns:
      A row for the dataset, each teacher, and each evaluation of each student: `part` (`data`, `teacher`,
      `student`), `label`, `episode_returns`, `episode_return` (their mean), `score` on D4RL's scale,
      `train_sec` (cpu-seconds of the updates alone), `action_msec` (cpu-milliseconds for one action of one
      state), `updates`; of last models `action_spread`, see there; of students `teacher`, `reward_weight`,
      `num_jumps` and `is_last` (of its model), and the specification's own fields.
    """
    torch.set_num_threads(1)
    envs = [make_env(spec.env) for _ in range(max(spec.num_episodes, spec.num_progress_episodes))]
    try:
        laboratory = _Laboratory(spec, envs)
        laboratory.run()
        return laboratory.rows
    finally:
        for env in envs:
            env.close()


def run_here(spec: Mapping[str, Any], folder: Path) -> None:
    """Runs a specification in this process and writes its rows into a folder."""
    save_result(folder, spec, train_ractd(RactdSpec(**spec)))


if __name__ == "__main__":
    run_here(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
