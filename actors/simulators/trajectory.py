"""The record of simulated trajectories at the boundaries of control steps; divergence."""

import dataclasses

import mujoco
import numpy as np

MAX_MAGNITUDE = mujoco.mjMAXVAL
"""MuJoCo's own bound on positions, velocities and accelerations: beyond it, a state counts as diverged."""

_CLOCK_TOLERANCE_SEC = 1e-6


@dataclasses.dataclass
class Trajectory:
    """`M` trajectories of `T` control steps (every repeat of an action counts), time first.

    Attributes:
      states: physics states at the boundaries; NaN from where a trajectory was found to have diverged.
      state_sensors: position- and velocity-stage sensors of the states.
      force_sensors: acceleration-stage sensors of the substep that led to the states.
      has_losses: whether any trajectory has diverged so far.
    """

    states: np.ndarray  # [T + 1, M, physics state]
    state_sensors: np.ndarray  # [T + 1, M, columns]
    force_sensors: np.ndarray  # [T + 1, M, columns]
    has_losses: bool = False

    @classmethod
    def allocate(
        cls,
        state: np.ndarray,
        force_sensors: np.ndarray,
        state_sensors: np.ndarray,
        num_steps: int,
        num_state_sensors: int,
    ) -> "Trajectory":
        """Returns an unwritten record that starts in `state`.

        Shapes `[M, physics state]`, `[M, columns]` and `[M, columns]`, or `[M, 0]` where the state sensors of
        the first boundary are not known.
        """
        num_rows = len(state)
        trajectory = cls(
            np.empty((num_steps + 1, num_rows, state.shape[-1])),
            np.empty((num_steps + 1, num_rows, num_state_sensors)),
            np.empty((num_steps + 1, num_rows, force_sensors.shape[-1])),
        )
        trajectory.states[0] = state
        trajectory.force_sensors[0] = force_sensors
        trajectory.state_sensors[0, :, : state_sensors.shape[-1]] = state_sensors
        return trajectory


def find_diverged(
    states: np.ndarray, start_time: np.ndarray, seconds: np.ndarray | float
) -> np.ndarray | None:
    """Returns which states are not finite, are huge, or where native stepping stopped early.

    `mujoco.rollout` abandons a trajectory after MuJoCo's first warning (a NaN, a huge acceleration, an
    ill-posed constraint) and repeats its last state, so its clock stands still.

    Args:
      states: physics states, time first; contiguous. Shape `[..., physics state]`.
      start_time: the clock before. Shape broadcasting to `[...]`.
      seconds: what the clock must have advanced since. Shape broadcasting to `[...]`.

    Returns:
      Shape `[...]`, bool; None if there are none.
    """
    late = states[..., 0] - start_time
    late -= seconds
    # Nearly always, and at the cost of one pass: sums of squares bound every term, and a NaN fails.
    if np.vdot(late, late) <= _CLOCK_TOLERANCE_SEC**2 and np.vdot(states, states) <= MAX_MAGNITUDE**2:
        return None
    is_stopped = ~(np.abs(late) <= _CLOCK_TOLERANCE_SEC)
    is_found = is_stopped | ~(np.abs(states).max(axis=-1) <= MAX_MAGNITUDE)
    return is_found if is_found.any() else None


def sum_repeats(reward: np.ndarray, action_repeat: int) -> np.ndarray:
    """Sums the rewards of every `action_repeat` consecutive steps, first to last as a wrapper does.

    Args:
      reward: shape `[H * action_repeat, M]`.
      action_repeat: >= 1.

    Returns:
      Shape `[H, M]`.
    """
    total = reward[::action_repeat]
    for repeat in range(1, action_repeat):
        total = total + reward[repeat::action_repeat]
    return total
