"""Simulates many copies of a MuJoCo environment in native code, bit for bit as it steps itself."""

import gymnasium as gym
import mujoco
import numpy as np

from actors.simulators.base import ActionFn, Rollout, SimulatorStep
from actors.simulators.live_env import control_fn_of, model_and_data
from actors.simulators.native import FULL_PHYSICS, NativeRollout
from actors.simulators.sensors import SensorColumns
from actors.simulators.task import MujocoTask, PhysicsBatch
from actors.simulators.tasks import find_task
from actors.simulators.trajectory import Trajectory, find_diverged, sum_repeats
from distill_rl.checks import check_shape
from distill_rl.envs import action_repeat_of


class MujocoSimulator:
    """A `Simulator` on `mujoco.rollout`, for environments with a vectorised task.

    A state is a row of physics state, warm start of the constraint solver, task parameters,
    acceleration-stage sensors and, where observations need them, position- and velocity-stage ones. From a
    `snapshot`, an open-loop rollout is one native call and equals the environment's own steps bit for bit. A
    closed-loop rollout is one native call for each step; MuJoCo does not return its warm start, so later
    calls start the constraint solver from the acceleration over the last substep, and agree to its tolerance.

    MuJoCo computes position- and velocity-stage sensors one substep late. Rewards that need them are
    therefore read from the first substep of the next control step, and only the last one of a rollout costs
    time of its own, unless observations need them too.
    """

    def __init__(self, env: gym.Env, task: MujocoTask | None = None, *, num_threads: int = 1):
        """Builds the simulator of a live environment; the environment itself is never touched.

        Args:
          env: the environment, with its wrappers (action rescaling and action repeat are reproduced).
          task: its vectorised task; by default the one that is registered for it.
          num_threads: native threads.

        Raises:
          ValueError: if the environment has no vectorised task.
        """
        task = find_task(env) if task is None else task
        if task is None:
            raise ValueError(f"`env` must have a vectorised MuJoCo task, got {env}")
        # A diverged state must stay visible: by default MuJoCo resets it silently.
        task.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET.value
        self.task = task
        self.observation_size = task.observation_size
        self.action_size = task.model.nu
        self.num_steps = 0
        self._native = NativeRollout(task.model, num_threads)
        self._control_fn = control_fn_of(env)
        self._action_repeat = action_repeat_of(env)
        self._substep_sec = float(task.model.opt.timestep)
        self.control_timestep_sec: float | None = self._substep_sec * task.num_substeps * self._action_repeat
        self._state_columns = SensorColumns(task.model, task.state_sensors)
        self._force_columns = SensorColumns(task.model, task.force_sensors)
        probe = np.zeros(task.model.nq), np.zeros(task.model.nv)
        # Observations want sensors at every step, which come with the native call anyway.
        self._has_fast_sensors = not task.observes_sensors and task.fast_state_sensors(*probe) is not None
        self._resting_state = _physics_state(task.model, mujoco.MjData(task.model))
        # Ends of the parts of a state: physics, warm start, parameters, force sensors, state sensors.
        num_observed = len(self._state_columns) if task.observes_sensors else 0
        parts = (
            self._native.state_size,
            task.model.nv,
            task.parameter_size,
            len(self._force_columns),
            num_observed,
        )
        self._ends = np.cumsum(parts)
        self.description = (
            f"native MuJoCo rollouts ({type(task).__name__}, {num_threads} thread{'s' * (num_threads > 1)}): "
            "the environment has a vectorised task"
        )

    def snapshot(self, env: gym.Env) -> np.ndarray:
        """Returns the state of a live environment of the kind this simulator was built from. Shape `[S]`.

        Raises:
          ValueError: if the environment is no MuJoCo environment.
        """
        handles = model_and_data(env)
        if handles is None:
            raise ValueError(f"`env` must be a MuJoCo environment, got {env}")
        model, data = handles
        physics = _physics_state(model, data)
        parts = [
            physics,
            data.qacc_warmstart,
            self.task.parameters(env),
            self.task.live_force_sensors(model, data),
        ]
        if self.task.observes_sensors:
            parts.append(self._native.state_sensors(physics[None])[0, self._state_columns.columns])
        return np.concatenate(parts)

    def step(self, state: np.ndarray, action: np.ndarray) -> SimulatorStep:
        """Steps every state once, equal to `rollout` up to rounding. Shapes `[M, S]`, `[M, A]`."""
        check_shape("action", action, (len(state), self.action_size))
        trajectory, parameters, warmstart = self._start(state, 1)
        control = self._control_fn(action)[:, None]
        warmstart = self._advance(trajectory, 0, control, warmstart)
        self._add_state_sensors(trajectory, -1, self._has_fast_sensors)
        rollout = self._evaluate(trajectory, parameters, control, warmstart)
        return SimulatorStep(rollout.state, rollout.observation, rollout.reward[:, 0], rollout.discount[:, 0])

    def rollout(
        self, state: np.ndarray, actions: np.ndarray | ActionFn, num_steps: int | None = None
    ) -> Rollout:
        """Rolls every state out.

        Args:
          state: shape `[M, S]`.
          actions: an open-loop plan `[M, H, A]`, or a function called with the step and its observation `[M,
            O]`.
          num_steps: `H`; needed with a function.

        Returns:
          The rollout. Rows that diverge have NaN in their state, observation and rewards from there on.

        Raises:
          ValueError: if a shape is wrong, or `num_steps` is missing or does not agree with a plan.
        """
        if not callable(actions):
            check_shape("actions", actions, (len(state), num_steps, self.action_size))
            num_steps = actions.shape[1]
        if num_steps is None or num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1, got {num_steps}")
        trajectory, parameters, warmstart = self._start(state, num_steps)
        if callable(actions):
            control, warmstart = self._closed_loop(trajectory, parameters, warmstart, actions, num_steps)
        else:
            control = self._control_fn(actions)
            warmstart = self._advance(trajectory, 0, control, warmstart)
            self._add_state_sensors(trajectory, -1, is_fast=False)
        return self._evaluate(trajectory, parameters, control, warmstart)

    def _start(self, state: np.ndarray, num_steps: int) -> tuple[Trajectory, np.ndarray, np.ndarray]:
        """Returns a record that starts in `state`, task parameters and warm starts; counts the steps."""
        check_shape("state", state, (None, int(self._ends[-1])))
        physics, warmstart, parameters, forces, observed = np.split(state, self._ends[:-1], axis=1)
        trajectory = Trajectory.allocate(
            physics, forces, observed, num_steps * self._action_repeat, len(self._state_columns)
        )
        is_lost = ~np.isfinite(state[:, : self._ends[1]]).all(axis=1)
        if is_lost.any():
            trajectory.states[0, is_lost] = np.nan
            trajectory.has_losses = True
        self.num_steps += len(state) * num_steps * self._action_repeat
        return trajectory, parameters, warmstart

    def _closed_loop(
        self,
        trajectory: Trajectory,
        parameters: np.ndarray,
        warmstart: np.ndarray,
        action_fn: ActionFn,
        num_steps: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps under `action_fn`; returns the controls `[M, H, nu]` and the last warm starts `[M, nv]`."""
        controls = []
        for step in range(num_steps):
            start = step * self._action_repeat
            action = action_fn(step, self._observe(trajectory, parameters, start))
            check_shape("action", action, (len(warmstart), self.action_size))
            controls.append(self._control_fn(action)[:, None])
            stop = start + self._action_repeat
            warmstart = self._advance(trajectory, start, controls[-1], warmstart)
            if step == num_steps - 1 or self.task.observes_sensors:
                self._add_state_sensors(trajectory, stop, self._has_fast_sensors)
        return np.concatenate(controls, axis=1), warmstart

    def _add_state_sensors(self, trajectory: Trajectory, boundary: int, is_fast: bool) -> None:
        """Writes the state sensors of the boundary that was simulated last."""
        if len(self._state_columns) == 0:
            return
        state = trajectory.states[boundary]
        if is_fast:
            qpos, qvel = self._positions_and_velocities(state)
            trajectory.state_sensors[boundary] = self.task.fast_state_sensors(qpos, qvel)
            return
        if trajectory.has_losses:
            state = np.where(np.isnan(state[:, :1]), self._resting_state, state)
        trajectory.state_sensors[boundary] = self._native.state_sensors(state)[:, self._state_columns.columns]

    def _positions_and_velocities(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `[..., nq]` and `[..., nv]` of physics states."""
        nq, nv = self.task.model.nq, self.task.model.nv
        return states[..., 1 : 1 + nq], states[..., 1 + nq : 1 + nq + nv]

    def _advance(
        self,
        trajectory: Trajectory,
        start: int,
        control: np.ndarray,
        warmstart: np.ndarray,
    ) -> np.ndarray:
        """Simulates from boundary `start` in one native call and writes it into the record.

        Returns the acceleration over the last substep, for the constraint solver to go on from. Shape `[M,
        nv]`.

        The state sensors of the last boundary are left out (`_add_state_sensors`).

        Rows that are lost, and those of actions that are not finite, rest in the model's initial state
        meanwhile: a NaN never enters MuJoCo.
        """
        substeps = self.task.num_substeps
        stop = start + control.shape[1] * self._action_repeat
        last = (stop - start) * substeps
        state = trajectory.states[start]
        # All at once first: nothing is lost in nearly every step. A finite sum of squares has finite terms.
        has_losses = trajectory.has_losses or not np.isfinite(np.vdot(control, control))
        if has_losses:
            is_lost = np.isnan(state[:, 0])
            is_invalid = ~np.isfinite(control).all(axis=-1)
            state = np.where(is_lost[:, None], self._resting_state, state)
            warmstart = np.where(is_lost[:, None], 0.0, warmstart)
            control = np.where(is_invalid[..., None], 0.0, control)
        # A single substep is written where it belongs, the substeps of several need sorting.
        out = trajectory.states[stop][:, None] if last == 1 else None
        hold = substeps * self._action_repeat
        states, sensors = self._native.run(state, warmstart, control, hold, out)
        ends = slice(substeps - 1, last, substeps)
        if out is None:
            trajectory.states[start + 1 : stop + 1] = states[:, ends].swapaxes(0, 1)
        if len(self._force_columns):
            forces = sensors[:, ends, self._force_columns.columns]
            trajectory.force_sensors[start + 1 : stop + 1] = forces.swapaxes(0, 1)
        if len(self._state_columns):
            lagged = sensors[:, ::substeps, self._state_columns.columns].swapaxes(0, 1)
            trajectory.state_sensors[start:stop] = lagged
        after = trajectory.states[start + 1 : stop + 1]
        count = np.arange(1, len(after) + 1)[:, None] if len(after) > 1 else 1
        is_diverged = find_diverged(after, state[:, 0], count * (substeps * self._substep_sec))
        if is_diverged is not None:
            after[is_diverged] = np.nan
        if has_losses:
            is_lost_after = is_lost[:, None] | np.logical_or.accumulate(is_invalid, axis=1)
            after[np.repeat(is_lost_after, self._action_repeat, axis=1).swapaxes(0, 1)] = np.nan
        trajectory.has_losses = has_losses or is_diverged is not None
        _, before_velocity = self._positions_and_velocities(state if last == 1 else states[:, -2])
        _, velocity = self._positions_and_velocities(after[-1])
        acceleration = velocity - before_velocity
        acceleration /= self._substep_sec
        return acceleration

    def _physics(
        self,
        trajectory: Trajectory,
        parameters: np.ndarray,
        boundaries: slice,
        has_state_sensors: bool = True,
    ) -> PhysicsBatch:
        """Returns the physics at boundaries of a trajectory; leading dimensions `[T, M]`."""
        states = trajectory.states[boundaries]
        qpos, qvel = self._positions_and_velocities(states)
        sensors = trajectory.state_sensors[boundaries]
        return PhysicsBatch(
            qpos=qpos,
            qvel=qvel,
            parameters=_repeat_rows(parameters, len(states)),
            force_sensors=self._force_columns.by_name(trajectory.force_sensors[boundaries]),
            state_sensors=self._state_columns.by_name(sensors) if has_state_sensors else {},
        )

    def _observe(self, trajectory: Trajectory, parameters: np.ndarray, boundary: int) -> np.ndarray:
        """Returns the observation at a boundary; NaN rows where it has diverged. Shape `[M, O]`, float32."""
        boundaries = slice(boundary, boundary + 1 or None)
        physics = self._physics(
            trajectory, parameters, boundaries, has_state_sensors=self.task.observes_sensors
        )
        observation = self.task.observe(physics)[0].astype(np.float32)
        if trajectory.has_losses:
            observation[np.isnan(trajectory.states[boundary, :, 0])] = np.nan
        return observation

    def _evaluate(
        self, trajectory: Trajectory, parameters: np.ndarray, control: np.ndarray, warmstart: np.ndarray
    ) -> Rollout:
        """Computes rewards and discounts of a whole record at once."""
        before = self._physics(trajectory, parameters, slice(0, -1))
        after = self._physics(trajectory, parameters, slice(1, None))
        is_lost = np.isnan(trajectory.states[1:, :, 0])
        repeated = np.repeat(control, self._action_repeat, axis=1).swapaxes(0, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            reward = self.task.reward(after, before, repeated)
            is_over = np.logical_or.accumulate(self.task.terminated(after) & ~is_lost, axis=0)
        was_over = np.pad(is_over, ((1, 0), (0, 0)))[:-1]
        reward = np.where(was_over, 0.0, np.where(is_lost, np.nan, reward))
        observation = self._observe(trajectory, parameters, -1)
        observation[is_over[-1] & is_lost[-1]] = 0.0
        state = [trajectory.states[-1], warmstart, parameters, trajectory.force_sensors[-1]]
        if self.task.observes_sensors:
            state.append(trajectory.state_sensors[-1])
        return Rollout(
            state=np.concatenate(state, axis=1),
            observation=observation,
            reward=sum_repeats(reward, self._action_repeat).swapaxes(0, 1),
            discount=1.0 - is_over[self._action_repeat - 1 :: self._action_repeat].swapaxes(0, 1),
        )


def _repeat_rows(parameters: np.ndarray, count: int) -> np.ndarray:
    """Returns parameters `[M, P]` for each of `count` boundaries. Shape `[count, M, P]`."""
    if parameters.shape[1] == 0:
        return np.empty((count, *parameters.shape))
    return np.broadcast_to(parameters, (count, *parameters.shape))


def _physics_state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Returns time, positions, velocities and activations. Shape `[physics state]`."""
    state = np.empty(mujoco.mj_stateSize(model, FULL_PHYSICS))
    mujoco.mj_getState(model, data, state, FULL_PHYSICS)
    return state
