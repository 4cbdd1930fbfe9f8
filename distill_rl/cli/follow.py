"""`distill-rl follow`: acts in an environment with the newest policy that a training publishes."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import gymnasium as gym
import numpy as np

from actors.stepping import step_env
from distill_rl.envs import make_env
from distill_rl.policies.loaded import LoadedPolicy
from distill_rl.storage.policy_subscriber import PolicySubscriber

_WAIT_SLICE_SEC = 0.5


class FollowedEpisode(NamedTuple):
    """An episode, during which the policy may have changed.

    Attributes:
      episode_return: undiscounted sum of its rewards.
      num_steps: its length.
      first_version: of the policy that began it.
      last_version: of the policy that ended it.
    """

    episode_return: float
    num_steps: int
    first_version: int
    last_version: int


def follow(
    subscriber: PolicySubscriber[LoadedPolicy],
    num_episodes: int | None,
    seed: int,
    should_stop_fn: Callable[[], bool],
) -> Iterator[FollowedEpisode]:
    """Acts in the environment of the training; every step with the newest policy there is.

    Args:
      subscriber: see `follow_policy`.
      num_episodes: None for endless.
      seed: of the resets.
      should_stop_fn: asked before each step.

    Yields:
      Every episode when it has ended.

    Raises:
      ValueError: if the policy's environment cannot be built, or Redis turned the client away.
    """
    while (newest := subscriber.wait(_WAIT_SLICE_SEC)) is None:
        if should_stop_fn():
            return
    with contextlib.closing(_build_env(newest.policy)) as env:
        for reset_seed in _seeds(num_episodes, seed):
            episode = _run_episode(env, subscriber, reset_seed, should_stop_fn)
            if episode is None:
                return
            yield episode


def _seeds(num_episodes: int | None, seed: int) -> Iterator[int]:
    generator = np.random.default_rng(seed)
    number = 0
    while num_episodes is None or number < num_episodes:
        yield int(generator.integers(2**31))
        number += 1


def _build_env(policy: LoadedPolicy) -> gym.Env:
    env_id = policy.metadata.get("env")
    if not isinstance(env_id, str) or ":" in env_id:  # `module:id` would import what a message names
        raise ValueError(f"the policy must name a registered environment, got {env_id!r}")
    options = {
        name: policy.metadata[name] for name in ("action_repeat", "env_config") if name in policy.metadata
    }
    return make_env(env_id, **options)


def _run_episode(
    env: gym.Env,
    subscriber: PolicySubscriber[LoadedPolicy],
    reset_seed: int,
    should_stop_fn: Callable[[], bool],
) -> FollowedEpisode | None:
    """Returns the episode, or None if it was stopped."""
    observation, _ = env.reset(seed=reset_seed)
    episode_return, num_steps, versions = 0.0, 0, []
    while not should_stop_fn():
        newest = subscriber.newest
        assert newest is not None
        versions.append(newest.policy.metadata["policy_version"])
        step = step_env(env, newest.policy.act(observation))
        if step is None:
            raise ValueError("the environment's physics failed under the policy")
        observation = step.observation
        episode_return += step.reward
        num_steps += 1
        if step.terminated or step.truncated:
            return FollowedEpisode(episode_return, num_steps, versions[0], versions[-1])
    return None
