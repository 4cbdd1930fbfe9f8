"""Measures the return of a policy, or of the search itself, over whole episodes."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import gymnasium as gym
import numpy as np

from actors.operators.base import ImprovementOperator
from actors.simulators.base import Simulator
from actors.stepping import best_actions, search_states, step_env
from distill_rl.checks import check_at_least_one, check_shape
from distill_rl.policies.base import SearchPolicy
from distill_rl.policies.chunk_execution import ChunkExecutor


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Episodes, in the order of their seeds.

    Attributes:
      returns: undiscounted sums of rewards. Shape `[num_episodes]`, float64.
      lengths: environment steps. Shape `[num_episodes]`, int64.
      num_failed: episodes that ended early because physics failed; they count with the return they had.
    """

    returns: np.ndarray
    lengths: np.ndarray
    num_failed: int

    @property
    def mean_return(self) -> float:
        """The mean of `returns`."""
        return float(self.returns.mean())


@dataclasses.dataclass
class _Episode:
    """A running episode."""

    index: int
    env: gym.Env
    observation: np.ndarray  # [O]


_EpisodesActFn = Callable[[np.ndarray, list[_Episode]], np.ndarray]


def evaluate_policy(
    act_fn: Callable[[np.ndarray], np.ndarray], envs: Sequence[gym.Env], num_episodes: int, seed: int = 0
) -> EvaluationResult:
    """Runs whole episodes of a policy, several environments together.

    Every episode has its own reset seed and all that start are finished, so the result favours no short
    episodes and, for a deterministic policy, does not depend on the number of environments.

    Args:
      act_fn: observations `[M, O]` to actions `[M, A]`, for the `M` episodes that are running.
      envs: environments of one kind; they are reset.
      num_episodes: at least 1.
      seed: of the episodes' resets.

    Returns:
      Returns and lengths of `num_episodes` episodes.

    Raises:
      ValueError: if there is no environment or no episode, or actions have another shape.
    """
    return _evaluate(lambda observation, _: act_fn(observation), envs, num_episodes, seed)


def evaluate_chunks(
    executor: ChunkExecutor, envs: Sequence[gym.Env], num_episodes: int, seed: int = 0
) -> EvaluationResult:
    """Runs whole episodes of a policy that plans chunks of actions; see `evaluate_policy`.

    Args:
      executor: plans and acts out; what it holds of earlier episodes is forgotten.
      envs: environments of one kind; they are reset.
      num_episodes: at least 1.
      seed: of the episodes' resets.

    Returns:
      Returns and lengths of `num_episodes` episodes.

    Raises:
      ValueError: if there is no environment or no episode.
    """
    executor.reset()
    return _evaluate(
        lambda observation, running: executor.act(observation, [episode.index for episode in running]),
        envs,
        num_episodes,
        seed,
    )


def evaluate_search(
    operator: ImprovementOperator,
    simulator: Simulator,
    policy: SearchPolicy,
    envs: Sequence[gym.Env],
    num_episodes: int,
    seed: int = 0,
) -> EvaluationResult:
    """Runs whole episodes of the search: every step is a search, and its best candidate acts.

    Args:
      operator: improves on the policy at every state.
      simulator: takes the environments' snapshots.
      policy: the policy that is improved on.
      envs: environments of one kind; they are reset.
      num_episodes: at least 1.
      seed: of the episodes' resets (the same as in `evaluate_policy`), and of the search.

    Returns:
      Returns and lengths of `num_episodes` episodes.

    Raises:
      ValueError: if there is no environment or no episode.
    """
    generator = np.random.default_rng([seed, 1])

    def act_fn(observation: np.ndarray, running: list[_Episode]) -> np.ndarray:
        searched, state = search_states(simulator, [episode.env for episode in running], observation)
        return best_actions(operator.improve(searched, state, policy, generator))

    return _evaluate(act_fn, envs, num_episodes, seed)


def _evaluate(
    act_fn: _EpisodesActFn, envs: Sequence[gym.Env], num_episodes: int, seed: int
) -> EvaluationResult:
    if not envs:
        raise ValueError("`envs` must hold at least one environment, got none")
    check_at_least_one("num_episodes", num_episodes)
    returns, lengths = np.zeros(num_episodes), np.zeros(num_episodes, np.int64)
    num_failed = 0
    waiting = iter(enumerate(np.random.SeedSequence(seed).generate_state(num_episodes)))
    running = [episode for env in envs if (episode := _next_episode(env, waiting))]
    while running:
        actions = act_fn(np.stack([episode.observation for episode in running]), running)
        check_shape("act_fn(observation)", actions, (len(running), None))
        still_running = []
        for episode, action in zip(running, actions, strict=True):
            step = step_env(episode.env, action)
            if step is None:
                num_failed += 1
            else:
                returns[episode.index] += step.reward
                lengths[episode.index] += 1
                episode.observation = step.observation
            is_over = step is None or step.terminated or step.truncated
            follower = _next_episode(episode.env, waiting) if is_over else episode
            still_running += [follower] if follower else []
        running = still_running
    return EvaluationResult(returns, lengths, num_failed)


def _next_episode(env: gym.Env, waiting: Iterator[tuple[int, np.uint32]]) -> _Episode | None:
    """Starts the next episode that waits in `env`, if there is one."""
    index, seed = next(waiting, (None, None))
    if index is None or seed is None:
        return None
    observation, _ = env.reset(seed=int(seed) % 2**31)
    return _Episode(index, env, np.asarray(observation, np.float32))
