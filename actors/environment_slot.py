"""An environment of a search actor, its running episode, and who acts in the next one."""

import dataclasses
import time

import gymnasium as gym
import numpy as np

from actors.history import EpisodeHistory
from actors.stepping import step_env
from distill_rl.collected import EpisodeRecord


@dataclasses.dataclass
class EnvironmentSlot:
    """An environment and its running episode.

    Attributes:
      env: the environment.
      generator: of reset seeds.
      is_mixed: whether whoever acts changes within the episode.
      is_running: whether there is an episode; else a new one must start.
      is_student: whether the student acts.
      observation: the newest. Shape `[O]`, float32.
      episode_return: undiscounted sum of rewards so far.
      num_steps: steps so far.
      first_set: first search of the episode within the fragment that is collected.
      history: the last steps, where they are asked for.
    """

    env: gym.Env
    generator: np.random.Generator
    is_mixed: bool = False
    is_running: bool = False
    is_student: bool = False
    observation: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.float32))  # [O]
    episode_return: float = 0.0
    num_steps: int = 0
    first_set: int = 0
    history: EpisodeHistory | None = None
    _start_sec: float = 0.0

    def start(self, first_set: int, num_history_steps: int) -> None:
        """Starts an episode.

        Args:
          first_set: its first search within the fragment that is collected.
          num_history_steps: steps of its history; 0 for none.
        """
        observation, _ = self.env.reset(seed=int(self.generator.integers(2**31)))
        self.is_running, self.observation = True, np.asarray(observation, np.float32)
        self.episode_return, self.num_steps, self.first_set = 0.0, 0, first_set
        if num_history_steps:
            self.history = EpisodeHistory(num_history_steps, self.observation)
        self._start_sec = time.perf_counter()

    def step(self, action: np.ndarray) -> tuple[EpisodeRecord | None, bool]:
        """Steps the environment; returns the record of its episode if it ended, and whether physics is sound.

        Args:
          action: in [-1, 1]. Shape `[A]`.
        """
        step = step_env(self.env, action)
        if step is None:
            return None, False
        self.observation = step.observation
        if self.history is not None:
            self.history.add(action, step)
        self.episode_return += step.reward
        self.num_steps += 1
        if not (step.terminated or step.truncated):
            return None, True
        record = EpisodeRecord(
            episode_return=self.episode_return,
            num_steps=self.num_steps,
            duration_sec=time.perf_counter() - self._start_sec,
            acted_by="mixed" if self.is_mixed else "student" if self.is_student else "search",
            terminated=step.terminated,
        )
        return record, True


def is_student_next(
    num_students: int, num_envs: int, *, fraction: float, num_student_steps: int, num_env_steps: int
) -> bool:
    """Returns whether the student acts in the next episode.

    Args:
      num_students: environments acted by the student now, without the one that starts.
      num_envs: number of environments.
      fraction: share meant for the student.
      num_student_steps: steps the student has acted so far in these environments.
      num_env_steps: all steps so far in these environments.
    """
    wanted = fraction * num_envs
    if num_students + 1 <= wanted:
        return True
    if num_students >= wanted:
        return False
    return num_student_steps < fraction * num_env_steps
