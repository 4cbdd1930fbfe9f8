"""A thin, allocation-free front of `mujoco.rollout`."""

import copy

import mujoco
import mujoco.rollout
import numpy as np

FULL_PHYSICS = mujoco.mjtState.mjSTATE_FULLPHYSICS.value
_NO_FORCES = mujoco.mjtDisableBit.mjDSBL_CONSTRAINT.value | mujoco.mjtDisableBit.mjDSBL_ACTUATION.value


class NativeRollout:
    """Steps many states of one model in native code, on a pool of threads that lives as long as this object.

    Outputs are written into buffers that grow to the largest request and are used again.

    Attributes:
      model: the model that is stepped.
      state_size: length of a row of physics state (time, positions, velocities, activations).
    """

    def __init__(self, model: mujoco.MjModel, num_threads: int = 1):
        """Starts the pool.

        Args:
          model: the model, which must not change its sizes later.
          num_threads: >= 1; with 1 everything runs on the calling thread.

        Raises:
          ValueError: if `num_threads` is not positive.
        """
        if num_threads < 1:
            raise ValueError(f"`num_threads` must be at least 1, got {num_threads}")
        self.model = model
        self.state_size = mujoco.mj_stateSize(model, FULL_PHYSICS)
        self._kinematic_model = copy.copy(model)
        self._kinematic_model.opt.disableflags |= _NO_FORCES
        self._data = [mujoco.MjData(model) for _ in range(num_threads)]
        self._rollout = mujoco.rollout.Rollout(nthread=num_threads if num_threads > 1 else 0)
        self._buffers: dict[str, np.ndarray] = {}

    def run(
        self,
        state: np.ndarray,
        warmstart: np.ndarray,
        control: np.ndarray,
        hold: int,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps `M` states under `T` controls, each held for `hold` substeps.

        Position- and velocity-stage sensors of substep `i` belong to the state *before* it.

        Args:
          state: physics states. Shape `[M, state_size]`.
          warmstart: accelerations the constraint solver starts from. Shape `[M, nv]`.
          control: shape `[M, T, nu]`.
          hold: substeps of each control.
          out: contiguous array that the states are written to; a buffer by default.

        Returns:
          States after, and sensors of, every substep; what lies in a buffer is valid until the next call.
          Shapes `[M, T * hold, state_size]` and `[M, T * hold, nsensordata]`.
        """
        num_rows, num_controls, control_size = control.shape
        held = self._buffer("control", (num_rows, num_controls * hold, control_size))
        held.reshape(num_rows, num_controls, hold, control_size)[...] = control[:, :, None]
        return self._step(self.model, state, warmstart, held, out)

    def state_sensors(self, state: np.ndarray) -> np.ndarray:
        """Returns the sensors of states; acceleration-stage ones have no meaning here.

        They come from a substep without constraints (contacts among them) and actuators, which position- and
        velocity-stage sensors do not depend on: a fifth to a half of the time of a whole one.

        Args:
          state: physics states. Shape `[M, state_size]`.

        Returns:
          Valid until the next call. Shape `[M, nsensordata]`.
        """
        num_rows = len(state)
        warmstart = np.zeros((num_rows, self.model.nv))
        control = np.zeros((num_rows, 1, self.model.nu))
        _, sensors = self._step(self._kinematic_model, state, warmstart, control)
        return sensors[:, 0]

    def _step(
        self,
        model: mujoco.MjModel,
        state: np.ndarray,
        warmstart: np.ndarray,
        control: np.ndarray,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Takes a substep for each control `[M, L, nu]`."""
        num_rows, num_steps, _ = control.shape
        if out is None:
            out = self._buffer("state", (num_rows, num_steps, self.state_size))
        return self._rollout.rollout(
            [model] * num_rows,
            self._data,
            np.ascontiguousarray(state, np.float64),
            control,
            nstep=num_steps,
            initial_warmstart=np.ascontiguousarray(warmstart, np.float64),
            state=out,
            sensordata=self._buffer("sensordata", (num_rows, num_steps, self.model.nsensordata)),
            skip_checks=True,
        )

    def _buffer(self, name: str, shape: tuple[int, int, int]) -> np.ndarray:
        size = shape[0] * shape[1] * shape[2]
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size)
        return buffer[:size].reshape(shape)
