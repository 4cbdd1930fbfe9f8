"""The record of simulated trajectories at the boundaries of control steps; divergence."""

import dataclasses

import mujoco
import numpy as np

MAX_MAGNITUDE = mujoco.mjMAXVAL
"""MuJoCo's own bound on positions, velocities and accelerations: beyond it, a state counts as diverged."""


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """`M` trajectories of `T` control steps (every repeat of an action counts).

    Attributes:
      states: physics states at the boundaries; NaN from where a trajectory was found to have diverged.
      state_sensors: position- and velocity-stage sensors of the states.
      force_sensors: acceleration-stage sensors of the substep that led to the states.
    """

    states: np.ndarray  # [M, T + 1, physics state]
    state_sensors: np.ndarray  # [M, T + 1, columns]
    force_sensors: np.ndarray  # [M, T + 1, columns]

    @classmethod
    def allocate(
        cls, state: np.ndarray, force_sensors: np.ndarray, num_steps: int, num_state_sensors: int
    ) -> "Trajectory":
        """Returns an unwritten record that starts in `state`. Shapes `[M, physics state]`, `[M, columns]`."""
        num_rows = len(state)
        trajectory = cls(
            np.empty((num_rows, num_steps + 1, state.shape[-1])),
            np.empty((num_rows, num_steps + 1, num_state_sensors)),
            np.empty((num_rows, num_steps + 1, force_sensors.shape[-1])),
        )
        trajectory.states[:, 0] = state
        trajectory.force_sensors[:, 0] = force_sensors
        return trajectory


def is_diverged(states: np.ndarray, start_time: np.ndarray, seconds: np.ndarray | float) -> np.ndarray:
    """Returns which states are not finite, are huge, or where native stepping stopped early.

    `mujoco.rollout` abandons a trajectory after MuJoCo's first warning (a NaN, a huge acceleration, an
    ill-posed constraint) and repeats its last state, so its clock stands still.

    Args:
      states: physics states, time first. Shape `[..., physics state]`.
      start_time: the clock before. Shape broadcasting to `[...]`.
      seconds: what the clock must have advanced since. Shape broadcasting to `[...]`.

    Returns:
      Shape `[...]`, bool.
    """
    magnitude = np.abs(states).max(axis=-1)
    behind = start_time + seconds - states[..., 0]
    with np.errstate(invalid="ignore"):
        is_sound = (magnitude <= MAX_MAGNITUDE) & (np.abs(behind) <= 1e-6 + 1e-9 * seconds)
    return ~is_sound


def sum_repeats(reward: np.ndarray, action_repeat: int) -> np.ndarray:
    """Sums the rewards of every `action_repeat` consecutive steps, first to last as a wrapper does.

    Args:
      reward: shape `[M, H * action_repeat]`.
      action_repeat: >= 1.

    Returns:
      Shape `[M, H]`.
    """
    total = reward[:, ::action_repeat]
    for repeat in range(1, action_repeat):
        total = total + reward[:, repeat::action_repeat]
    return total
