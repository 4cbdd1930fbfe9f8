"""How near search comes to the native stepping ceiling of the simulator.

The ceiling steps the very trajectories of the search again: the environment's own model without added
sensors, open loop, in one call of `mujoco.rollout` on one thread. Shares are cpu-seconds of the ceiling over
those of the search, which

  steps closed loop: every action is a function of the last observation, one native call for each step;
  computes observations and rewards of every step;
  proposes candidates, projects them, averages returns and solves for the temperature;
  calls a policy: none to speak of (`trivial`: what simulator and search alone reach), or the default
  networks.

Tree search (Gumbel MuZero, 50 simulations, 16 candidates) steps every node on its own: where a reward reads
sensors that the task cannot compute itself, each costs a substep without forces. The humanoid's observations
read some, so it pays one at every step, in rollouts too.

The time of the search is split by timers around the simulator and the policy, the rest being search maths.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")

import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import mujoco
import mujoco.rollout
import numpy as np
import torch
from measuring import interleave, parse_arguments, report, spread

from actors.operators.base import ImprovementOperator
from actors.operators.config import RootBanditConfig
from actors.operators.gumbel_muzero import GumbelMuZero, GumbelMuZeroConfig
from actors.operators.root_bandit import RootBandit
from actors.simulators.base import ActionFn, Rollout, SimulatorStep
from actors.simulators.live_env import control_fn_of, model_and_data
from actors.simulators.mujoco import MujocoSimulator
from actors.stepping import stack_states
from distill_rl.cli.presets import load_preset, preset_names
from distill_rl.cli.sections import build_config
from distill_rl.envs import make_env
from distill_rl.envs.wrappers import action_repeat_of
from distill_rl.policies.base import SearchPolicy
from distill_rl.policies.distill_networks import DistillNetworks
from distill_rl.policies.search_policy import TorchSearchPolicy

_TASKS = {
    "cheetah_run": "dm_control/cheetah-run-v0",
    "walker_walk": "dm_control/walker-walk-v0",
    "humanoid_run": "dm_control/humanoid-run-v0",
}
_STEPS_BETWEEN_STATES = 5
_COLUMNS = {
    "task": "task",
    "settings": "settings",
    "num_states": "states",
    "policy": "policy",
    "steps_per_cpu_sec": "control steps per cpu-second",
    "share_of_ceiling": "share of the ceiling",
    "simulator_share": "time in simulator",
    "policy_share": "in policy",
    "search_share": "in search maths",
    "searches_per_cpu_sec": "searches per cpu-second",
}


class TrivialPolicy:
    """Acts without a network: noise alone, and a value of zero."""

    def __init__(self, action_size: int):
        self._action_size = action_size

    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        """Returns zeros, or noise."""
        shape = (len(observation), self._action_size)
        if noise_scale == 0.0:
            return np.zeros(shape, np.float32)
        noise = generator.standard_normal(shape, np.float32)
        return np.clip(np.float32(noise_scale) * noise, -1.0, 1.0)

    def value(self, observation: np.ndarray) -> np.ndarray:
        """Returns zeros."""
        return np.zeros(len(observation), np.float32)


class TimedPolicy:
    """Times the calls of a policy.

    Attributes:
      seconds: cpu-seconds spent in it.
    """

    def __init__(self, policy: SearchPolicy):
        self._policy = policy
        self.seconds = 0.0

    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        """Calls the policy."""
        start = time.process_time()
        action = self._policy.act(observation, noise_scale, generator)
        self.seconds += time.process_time() - start
        return action

    def value(self, observation: np.ndarray) -> np.ndarray:
        """Calls the value function."""
        start = time.process_time()
        value = self._policy.value(observation)
        self.seconds += time.process_time() - start
        return value


class RecordingSimulator(MujocoSimulator):
    """Times rollouts, less the policy's part, and records what they were.

    Attributes:
      seconds: cpu-seconds spent in rollouts.
      recorded: start `[M, S]` and actions `[M, H, A]` of every rollout.
    """

    def __init__(self, env: gym.Env, policy: TimedPolicy):
        super().__init__(env)
        self._timed_policy = policy
        self.seconds = 0.0
        self.recorded: list[tuple[np.ndarray, np.ndarray]] = []

    def step(self, state: np.ndarray, action: np.ndarray) -> SimulatorStep:
        """Steps, and records the action."""
        start = time.process_time()
        step = super().step(state, action)
        self.seconds += time.process_time() - start
        self.recorded.append((state, action[:, None]))
        return step

    def rollout(
        self, state: np.ndarray, actions: np.ndarray | ActionFn, num_steps: int | None = None
    ) -> Rollout:
        """Rolls out, and records the actions taken."""
        start, start_policy = time.process_time(), self._timed_policy.seconds
        if callable(actions):
            action_fn, taken = actions, []

            def record_fn(step: int, observation: np.ndarray) -> np.ndarray:
                taken.append(action_fn(step, observation))
                return taken[-1]

            rollout = super().rollout(state, record_fn, num_steps)
        else:
            rollout, taken = super().rollout(state, actions), list(actions.swapaxes(0, 1))
        self.seconds += time.process_time() - start - (self._timed_policy.seconds - start_policy)
        self.recorded.append((state, np.stack(taken, axis=1)))
        return rollout


def main() -> None:
    """Measures every combination and prints the table."""
    arguments = parse_arguments(
        __doc__, tasks=tuple(_TASKS), num_states=(1, 16, 64), num_repeats=9, min_sec=0.5
    )
    torch.set_num_threads(1)
    rows = []
    for task in arguments.tasks:
        for settings, operator_type, config, action_repeat in _settings(task):
            env = make_env(_TASKS[task], action_repeat=action_repeat)
            for num_states in arguments.num_states:
                for policy in (TrivialPolicy(env.action_space.shape[0]), _make_networks(env)):
                    row = {"task": task, "settings": settings, "num_states": num_states}
                    rows.append(row | _measure(env, operator_type, config, num_states, policy, arguments))
    report(rows, _COLUMNS, arguments.json)


def _settings(task: str) -> list[tuple[str, type[ImprovementOperator], Any, int]]:
    """Returns what to measure: name of the settings, operator, its settings, action repeat."""
    settings = [
        ("root bandit, default", RootBandit, RootBanditConfig(), 1),
        ("tree", GumbelMuZero, GumbelMuZeroConfig(num_simulations=50), 1),
    ]
    if task in preset_names():
        config, _ = build_config(load_preset(task))
        action_repeat = config.env_config.get("action_repeat", 1)
        settings.append(("root bandit, preset", RootBandit, config.part(RootBanditConfig), action_repeat))
    return settings


def _make_networks(env: gym.Env) -> TorchSearchPolicy:
    torch.manual_seed(0)
    networks = DistillNetworks(env.observation_space.shape[0], env.action_space.shape[0])
    return TorchSearchPolicy(networks)


def _measure(
    env: gym.Env,
    operator_type: type[ImprovementOperator],
    config: Any,
    num_states: int,
    policy: SearchPolicy,
    arguments: Any,
) -> dict[str, Any]:
    """Measures one combination; see the module's docstring."""
    simulator = MujocoSimulator(env)
    operator = operator_type(simulator, config)
    observation, state = _visited_states(env, simulator, num_states)
    timed_policy = TimedPolicy(policy)
    recorder = RecordingSimulator(env, timed_policy)
    recorded_operator = operator_type(recorder, config)

    def search() -> None:
        operator.improve(observation, state, policy, np.random.default_rng(0))

    def recorded_search() -> None:
        recorder.recorded.clear()
        recorded_operator.improve(observation, state, timed_policy, np.random.default_rng(0))

    recorded_search()
    num_steps = recorder.num_steps
    functions = {"search": search, "ceiling": _make_ceiling(env, simulator, recorder.recorded)}
    seconds = interleave(functions, arguments.num_repeats, arguments.min_sec)
    return {
        "policy": "trivial" if isinstance(policy, TrivialPolicy) else "networks",
        "steps_per_cpu_sec": spread(num_steps / seconds["search"]),
        "ceiling_steps_per_cpu_sec": spread(num_steps / seconds["ceiling"]),
        "share_of_ceiling": spread(seconds["ceiling"] / seconds["search"]),
        "searches_per_cpu_sec": spread(num_states / seconds["search"]),
        **_split(recorded_search, recorder, timed_policy, arguments.min_sec),
    }


def _split(
    search_fn: Callable[[], None], recorder: RecordingSimulator, policy: TimedPolicy, min_sec: float
) -> dict[str, float]:
    """Returns the shares of a search's time that go to simulator, policy and the rest."""
    recorder.seconds = policy.seconds = total = 0.0
    start = time.process_time()
    while total < min_sec:
        search_fn()
        total = time.process_time() - start
    simulator_share, policy_share = recorder.seconds / total, policy.seconds / total
    return {
        "simulator_share": simulator_share,
        "policy_share": policy_share,
        "search_share": 1.0 - simulator_share - policy_share,
    }


def _make_ceiling(
    env: gym.Env, simulator: MujocoSimulator, recorded: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Callable[[], None]:
    """Returns a function that steps recorded rollouts again, natively and open loop."""
    handles = model_and_data(env)
    assert handles is not None
    model, data = handles[0], mujoco.MjData(handles[0])
    state_size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    num_held = simulator.task.num_substeps * action_repeat_of(env)
    calls = []
    for state, actions in recorded:
        control = np.repeat(control_fn_of(env)(actions), num_held, axis=1).astype(np.float64)
        shape = control.shape[:2]
        calls.append(
            {
                "model": [model] * len(state),
                "data": [data],
                "initial_state": np.ascontiguousarray(state[:, :state_size]),
                "control": control,
                "nstep": shape[1],
                "initial_warmstart": np.ascontiguousarray(state[:, state_size : state_size + model.nv]),
                "state": np.empty((*shape, state_size)),
                "sensordata": np.empty((*shape, model.nsensordata)),
                "skip_checks": True,
            }
        )
    native = mujoco.rollout.Rollout(nthread=0)

    def ceiling() -> None:
        for call in calls:
            native.rollout(**call)

    return ceiling


def _visited_states(
    env: gym.Env, simulator: MujocoSimulator, num_states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns observations and states along an episode of random actions."""
    generator = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    observations, states = [], []
    while len(states) < num_states:
        for _ in range(_STEPS_BETWEEN_STATES):
            observation, *_ = env.step(generator.uniform(-1.0, 1.0, env.action_space.shape))
        observations.append(observation)
        states.append(simulator.snapshot(env))
    return np.stack(observations), stack_states(states)


if __name__ == "__main__":
    main()
