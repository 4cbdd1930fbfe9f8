"""What a search asks of a model of the environment."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

ActionFn = Callable[[int, np.ndarray], np.ndarray]
"""Closed-loop actions: `(step, observation [M, O]) -> action [M, A]`."""


@dataclasses.dataclass(frozen=True)
class SimulatorStep:
    """One step of `M` trajectories."""

    state: np.ndarray  # [M, S] (or [M] of objects)
    observation: np.ndarray  # [M, O] float32
    reward: np.ndarray  # [M] float64
    discount: np.ndarray  # [M] float64: 0 where the step terminated the episode, else 1


@dataclasses.dataclass(frozen=True)
class Rollout:
    """`H` steps of `M` trajectories. After a termination rewards and discounts are zero."""

    state: np.ndarray  # [M, S]: the state after the last step
    observation: np.ndarray  # [M, O] float32: the observation after the last step
    reward: np.ndarray  # [M, H] float64
    discount: np.ndarray  # [M, H] float64


class Simulator(Protocol):
    """Steps many copies of an environment from given states.

    States are rows: `state[i]` is one state and fancy indexing copies them. Actions are normalised to
    [-1, 1]. A diverging simulation gives NaN in its own row's reward and observation and never raises.

    Attributes:
      observation_size: `O`.
      action_size: `A`.
      control_timestep_sec: simulated seconds of one step, action repeat included; None where unknown.
      num_steps: control steps simulated since construction (an action repeat of 2 counts 2 for each step).
      description: one line saying which simulator this is, and why it was chosen.
    """

    observation_size: int
    action_size: int
    control_timestep_sec: float | None
    num_steps: int
    description: str

    def snapshot(self, env: Any) -> np.ndarray:
        """Returns the state of a live environment. Shape `[S]`."""
        ...

    def step(self, state: np.ndarray, action: np.ndarray) -> SimulatorStep:
        """Steps every state once. Shapes `[M, S]`, `[M, A]`.

        Raises:
          ValueError: if a shape is wrong.
        """
        ...

    def rollout(
        self, state: np.ndarray, actions: np.ndarray | ActionFn, num_steps: int | None = None
    ) -> Rollout:
        """Rolls every state out.

        Args:
          state: shape `[M, S]`.
          actions: an open-loop plan `[M, H, A]`, or a function called with the step and its observation
            `[M, O]`.
          num_steps: `H`; needed with a function.

        Raises:
          ValueError: if a shape is wrong, or `num_steps` is missing or does not agree with a plan.
        """
        ...
