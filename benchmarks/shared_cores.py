"""Cores of a machine in simulated time."""

from collections.abc import Generator
from typing import Any

import simpy

Process = Generator[simpy.Event, Any, None]
"""A process of simpy."""


class SharedCores:
    """Cores that are shared by weight among those at work, each of whom uses one at most."""

    def __init__(self, env: simpy.Environment, num_cores: float | None):
        """Starts idle.

        Args:
          env: simulated time.
          num_cores: may be a fraction; None for a core for each who is at work.
        """
        self._env, self._num_cores = env, num_cores
        self._rest: dict[simpy.Event, float] = {}
        self._weights: dict[simpy.Event, float] = {}
        self._since = 0.0
        self._turn = 0

    def work(self, duration_sec: float, weight: float = 1.0) -> simpy.Event:
        """Returns an event that comes when so many cpu-seconds were spent.

        Args:
          duration_sec: cpu-seconds.
          weight: share of a core beside somebody of weight 1.
        """
        if self._num_cores is None or duration_sec <= 0.0:
            return self._env.timeout(max(0.0, duration_sec))
        self._advance()
        done = self._env.event()
        self._rest[done], self._weights[done] = duration_sec, weight
        self._plan()
        return done

    def _rates(self) -> dict[simpy.Event, float]:
        """Returns the cores that each one has: by weight, until one is full, and so on with the rest."""
        assert self._num_cores is not None
        rates: dict[simpy.Event, float] = {}
        num_left, weight_left = self._num_cores, sum(self._weights.values())
        for done, weight in sorted(self._weights.items(), key=lambda item: -item[1]):
            rates[done] = min(1.0, num_left * weight / weight_left)
            num_left, weight_left = num_left - rates[done], weight_left - weight
        return rates

    def _advance(self) -> None:
        elapsed_sec = self._env.now - self._since
        self._since = self._env.now
        for done, rate in self._rates().items():
            self._rest[done] -= elapsed_sec * rate

    def _plan(self) -> None:
        self._turn += 1
        if self._rest:
            delay_sec = min(self._rest[done] / rate for done, rate in self._rates().items())
            self._env.process(self._finish(self._turn, max(0.0, delay_sec)))

    def _finish(self, turn: int, delay_sec: float) -> Process:
        yield self._env.timeout(delay_sec)
        if turn != self._turn:  # somebody came or left in the meantime
            return
        self._advance()
        for done in [done for done, rest in self._rest.items() if rest <= 1e-9]:
            del self._rest[done], self._weights[done]
            done.succeed()
        self._plan()
