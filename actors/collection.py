"""Whole episodes of a behaviour, as a dataset. No Ray."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from actors.search.proposals import truncated_normal_log_prob, truncated_normal_sample
from actors.step_log import StepLog
from actors.stepping import step_env
from distill_rl.checks import check_at_least_one, check_positive
from distill_rl.datasets.offline_dataset import OfflineDataset


@dataclasses.dataclass(eq=False)
class RunningEpisode:
    """An episode while it runs. The one that follows it in its environment is another object.

    Attributes:
      env: where it runs.
      observation: the newest. Shape `[O]`, float32.
      plan: what a behaviour that plans goes on from, and replaces. Shape `[H, A]`; None at the start.
      number: that of the log, from the first step on.
    """

    env: gym.Env
    observation: np.ndarray
    plan: np.ndarray | None = None
    number: int | None = None


Behaviour = Callable[[Sequence[RunningEpisode], np.random.Generator], tuple[np.ndarray, np.ndarray | None]]
"""`M` running episodes and a generator to actions in [-1, 1] `[M, A]` and their log-densities `[M]`, or None
where those are not known."""


def uniform_behaviour(action_size: int) -> Behaviour:
    """Returns the behaviour that draws every action uniformly from [-1, 1]: `log p = -A log 2`.

    Args:
      action_size: `A`.
    """

    def behave(
        episodes: Sequence[RunningEpisode], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        actions = generator.uniform(-1.0, 1.0, (len(episodes), action_size)).astype(np.float32)
        return actions, np.full(len(episodes), -action_size * np.log(2.0), np.float32)

    return behave


def truncated_normal_behaviour(act_fn: Callable[[np.ndarray], np.ndarray], scale: float) -> Behaviour:
    """Returns the behaviour that draws from a normal distribution about a policy, conditioned on [-1, 1].

    Densities are those of the actions as they are stored, after rounding to float32.

    Args:
      act_fn: a policy without noise. Shapes `[M, O]` to `[M, A]`, in [-1, 1].
      scale: standard deviation before truncation; actions span [-1, 1].

    Raises:
      ValueError: if `scale` is not positive.
    """
    check_positive("scale", scale)
    spread = np.array(scale)

    def behave(
        episodes: Sequence[RunningEpisode], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        observation = np.stack([episode.observation for episode in episodes])
        mean = np.asarray(act_fn(observation), np.float64)
        actions = truncated_normal_sample(mean, spread, generator).astype(np.float32)
        log_probs = truncated_normal_log_prob(actions.astype(np.float64), mean, spread)
        return actions, log_probs.astype(np.float32)

    return behave


def collect_episodes(
    behaviour: Behaviour, envs: Sequence[gym.Env], num_steps: int, seed: int, metadata: dict[str, Any]
) -> OfflineDataset:
    """Rolls out whole episodes of a behaviour in several environments together.

    They are the first episodes, in the order in which they started, that have `num_steps` steps together.
    Everything repeats itself for a seed, a behaviour and a number of environments.

    Args:
      behaviour: chooses the actions.
      envs: environments of one kind, with actions in [-1, 1] and vector observations; they are reset.
      num_steps: at least that many steps, less than one episode more.
      seed: of the resets and of the behaviour.
      metadata: of the dataset; the seed is added.

    Returns:
      The dataset, with log-densities if the behaviour knows them.

    Raises:
      ValueError: if there is no environment or `num_steps` is below 1.
    """
    if not envs:
        raise ValueError("`envs` must hold at least one environment, got none")
    check_at_least_one("num_steps", num_steps)
    acting, resets = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    log = _log_for(envs[0])
    running = [_start(env, resets) for env in envs]
    while running:
        actions, log_probs = behaviour(running, acting)
        if log_probs is None:
            log_probs = np.full(len(running), np.nan)
        still_running = []
        for one, action, log_prob in zip(running, actions, log_probs, strict=True):
            step = step_env(one.env, action)
            if step is not None:
                one.number = log.add(one.number, one.observation, action, step, log_prob)
                one.observation = step.observation
            is_over = step is None or step.terminated or step.truncated
            if not is_over:
                still_running.append(one)
            elif len(log) < num_steps:
                still_running.append(_start(one.env, resets))
        running = still_running
    num_episodes = int(np.searchsorted(np.cumsum(log.episode_lengths()), num_steps)) + 1
    return log.to_dataset(metadata | {"seed": seed}, num_episodes=num_episodes)


def action_bounds(env: gym.Env) -> dict[str, list[float]]:
    """Returns the metadata that say what actions of -1 and 1 are to the innermost environment.

    Args:
      env: of `distill_rl.envs.make_env`, with its wrappers.
    """
    space = env.unwrapped.action_space
    assert isinstance(space, gym.spaces.Box)  # `make_env` takes no other
    return {"action_low": space.low.tolist(), "action_high": space.high.tolist()}


def _start(env: gym.Env, resets: np.random.Generator) -> RunningEpisode:
    observation, _ = env.reset(seed=int(resets.integers(2**31)))
    return RunningEpisode(env, np.asarray(observation, np.float32))


def _log_for(env: gym.Env) -> StepLog:
    assert env.observation_space.shape is not None and env.action_space.shape is not None
    return StepLog(env.observation_space.shape[0], env.action_space.shape[0])
