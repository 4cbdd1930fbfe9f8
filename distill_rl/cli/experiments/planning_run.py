"""One operator on one task, without anything learned: returns, time and simulated steps."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from actors.operators.config import OperatorChoice
from actors.operators.registry import find_operator, make_operator
from actors.planning import Plan, UninformedPolicy, decide
from actors.stepping import stack_states
from distill_rl.cli.experiments.base import Row
from distill_rl.cli.machine import describe_machine
from distill_rl.envs import make_env


@dataclasses.dataclass(frozen=True)
class PlanningSpec:
    """What to run.

    Attributes:
      operator: its name.
      settings: fields of its configuration.
      env: environment id.
      action_repeat: how often each decision is carried out.
      num_rollouts: the budget, in rollouts over the task's horizon, for the record.
      num_steps: control steps of an episode.
      num_episodes: planned together.
      seed: of the resets and of every draw.
    """

    operator: str
    settings: Mapping[str, Any]
    env: str
    action_repeat: int
    num_rollouts: int
    num_steps: int
    num_episodes: int
    seed: int = 0


def run_planning(spec: PlanningSpec) -> list[Row]:
    """Plans whole episodes.

    Args:
      spec: what to run.

    Returns:
      One row: returns, cpu-milliseconds and control steps simulated for each decision.
    """
    envs = [make_env(spec.env, action_repeat=spec.action_repeat) for _ in range(spec.num_episodes)]
    config = find_operator(spec.operator).config_type(**spec.settings)
    operator, warm_up = (make_operator(envs[0], OperatorChoice(spec.operator), config) for _ in range(2))
    simulator, generator = operator.simulator, np.random.default_rng(spec.seed)
    policy = UninformedPolicy(simulator.action_size)
    plans: list[Plan] = [None] * len(envs)
    seeds = np.random.SeedSequence(spec.seed).generate_state(len(envs))
    observations = [env.reset(seed=int(seed) % 2**31)[0] for env, seed in zip(envs, seeds, strict=True)]
    returns, cpu_sec = np.zeros(len(envs)), 0.0
    num_decisions = -(-spec.num_steps // spec.action_repeat)
    for decision in range(num_decisions):
        observation = np.stack(observations).astype(np.float32)
        state = stack_states([simulator.snapshot(env) for env in envs])
        if decision == 0:  # not timed: what is compiled, or allocated, on first use
            decide(warm_up, policy, observation, state, plans, np.random.default_rng(0))
        start = time.process_time()
        actions, plans = decide(operator, policy, observation, state, plans, generator)
        cpu_sec += time.process_time() - start
        for index, (env, action) in enumerate(zip(envs, actions, strict=True)):
            observations[index], reward, *_ = env.step(action)
            returns[index] += reward
    for env in envs:
        env.close()
    total = num_decisions * len(envs)
    return [
        {
            "operator": spec.operator,
            "task": spec.env.removeprefix("dm_control/").removesuffix("-v0"),
            "num_rollouts": spec.num_rollouts,
            "episode_return": float(returns.mean()),
            "episode_return_min": float(returns.min()),
            "episode_return_max": float(returns.max()),
            "episode_returns": returns.tolist(),
            "num_episodes": len(envs),
            "num_steps": spec.num_steps,
            "action_repeat": spec.action_repeat,
            "cpu_ms_per_decision": 1e3 * cpu_sec / total,
            "simulator_steps_per_decision": simulator.num_steps / total,
            "machine": describe_machine(),
        }
    ]
