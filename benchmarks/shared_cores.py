"""Cores of a machine in simulated time."""

from collections.abc import Generator
from typing import Any

import simpy

Process = Generator[simpy.Event, Any, None]
"""A process of simpy."""


class SharedCores:
    """Cores that are shared equally among those at work, each of whom uses one at most."""

    def __init__(self, env: simpy.Environment, num_cores: float | None):
        """Starts idle.

        Args:
          env: simulated time.
          num_cores: may be a fraction; None for a core for each who is at work.
        """
        self._env, self._num_cores = env, num_cores
        self._rest: dict[simpy.Event, float] = {}
        self._since = 0.0
        self._turn = 0

    def work(self, duration_sec: float) -> simpy.Event:
        """Returns an event that comes when so many cpu-seconds were spent."""
        if self._num_cores is None or duration_sec <= 0.0:
            return self._env.timeout(max(0.0, duration_sec))
        self._advance()
        done = self._env.event()
        self._rest[done] = duration_sec
        self._plan()
        return done

    def _rate(self) -> float:
        assert self._num_cores is not None
        return min(1.0, self._num_cores / max(1, len(self._rest)))

    def _advance(self) -> None:
        spent = (self._env.now - self._since) * self._rate()
        self._since = self._env.now
        for done in self._rest:
            self._rest[done] -= spent

    def _plan(self) -> None:
        self._turn += 1
        if self._rest:
            self._env.process(self._finish(self._turn, max(0.0, min(self._rest.values())) / self._rate()))

    def _finish(self, turn: int, delay_sec: float) -> Process:
        yield self._env.timeout(delay_sec)
        if turn != self._turn:  # somebody came or left in the meantime
            return
        self._advance()
        for done in [done for done, rest in self._rest.items() if rest <= 1e-9]:
            del self._rest[done]
            done.succeed()
        self._plan()
