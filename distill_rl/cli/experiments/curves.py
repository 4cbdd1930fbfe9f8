"""Learning curves: training interrupted by evaluations, on a clock that stops meanwhile."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import gymnasium as gym

from actors.evaluation import EvaluationResult
from distill_rl.checks import check_positive
from distill_rl.cli.experiments.base import Row

EvaluateFn = Callable[[Sequence[gym.Env], int, int], EvaluationResult]
"""`(envs, num_episodes, seed) -> result`, without noise where the policy has a choice."""

EVALUATION_SEED = 10_000
"""Seed of every evaluation's resets, the same for all methods."""


@dataclasses.dataclass(frozen=True)
class CurveSpec:
    """One run of one method.

    Attributes:
      method: name of a contender.
      env: environment id.
      action_repeat: how often every action is taken, by every method.
      seed: of the training.
      time_limit_sec: seconds of training; evaluations do not count.
      evaluation_interval_sec: seconds of training between evaluations.
      num_episodes: episodes of each evaluation, by name of the policy.
      num_cores: cores that the run is bound to.
      settings: changes to the method's configuration, by `section.key`.
    """

    method: str
    env: str
    action_repeat: int
    seed: int
    time_limit_sec: float
    evaluation_interval_sec: float
    num_episodes: Mapping[str, int]
    num_cores: int = 2
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
          ValueError: naming the field, what was expected and what came.
        """
        for name in ("action_repeat", "time_limit_sec", "evaluation_interval_sec", "num_cores"):
            check_positive(name, getattr(self, name))


@dataclasses.dataclass(frozen=True)
class StepCounts:
    """What training has used so far.

    Attributes:
      env_steps: steps of the environments, an action repeat counting once.
      simulator_steps: control steps simulated, an action repeat counting as often as it is: those of the
        environments and those of a search.
    """

    env_steps: int
    simulator_steps: int


class Contender(Protocol):
    """A method in training.

    Attributes:
      policies: what is evaluated, by name.
    """

    policies: Mapping[str, EvaluateFn]

    def train(self) -> None:
        """Trains for a moment (seconds at most)."""
        ...

    def wait_idle(self) -> None:
        """Returns when nothing works in the background any more."""
        ...

    def counts(self) -> StepCounts:
        """Returns what training has used so far."""
        ...

    def stop(self) -> None:
        """Ends every process and environment."""
        ...


class TrainingClock:
    """Counts the seconds in which it runs.

    Args:
      time_fn: seconds of some clock.
    """

    def __init__(self, time_fn: Callable[[], float] = time.monotonic):
        self._time_fn = time_fn
        self._counted_sec = 0.0
        self._start_sec: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        running = 0.0 if self._start_sec is None else self._time_fn() - self._start_sec
        return self._counted_sec + running

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Lets the clock run inside the block."""
        self._start_sec = self._time_fn()
        try:
            yield
        finally:
            self._counted_sec, self._start_sec = self.seconds, None


def record_curve(
    contender: Contender, spec: CurveSpec, envs: Sequence[gym.Env], clock: TrainingClock
) -> list[Row]:
    """Trains until the time is up, and evaluates at the start, at every interval and at the end.

    Before an evaluation the clock runs on until the background work has ended, so that nobody gets work for
    free while the clock stands.

    Args:
      contender: the method.
      spec: how long and how often.
      envs: environments to evaluate in.
      clock: counts training.

    Returns:
      One row for each evaluation of each policy.
    """
    rows: list[Row] = []
    index = 0
    while True:
        rows += _evaluate(contender, spec, envs, clock.seconds, index)
        if clock.seconds >= spec.time_limit_sec:
            return rows
        index += 1
        num_passed = int(clock.seconds // spec.evaluation_interval_sec)
        next_sec = min(spec.time_limit_sec, (num_passed + 1) * spec.evaluation_interval_sec)
        with clock.running():
            while clock.seconds < next_sec:
                contender.train()
            contender.wait_idle()


def _evaluate(
    contender: Contender, spec: CurveSpec, envs: Sequence[gym.Env], wall_sec: float, index: int
) -> list[Row]:
    counts = contender.counts()
    rows: list[Row] = []
    for policy, evaluate_fn in contender.policies.items():
        num_episodes = spec.num_episodes[policy]
        result = evaluate_fn(envs, num_episodes, EVALUATION_SEED)
        rows.append(
            {
                "method": spec.method,
                "policy": policy,
                "seed": spec.seed,
                "evaluation": index,
                "wall_sec": wall_sec,
                "env_steps": counts.env_steps,
                "simulator_steps": counts.simulator_steps,
                "episode_return": result.mean_return,
                "episode_return_std": float(result.returns.std()),
                "num_episodes": num_episodes,
                "num_failed_episodes": result.num_failed,
                "env": spec.env,
                "action_repeat": spec.action_repeat,
            }
        )
    return rows
