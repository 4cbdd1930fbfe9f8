"""`distill-rl actor`: searches outside Ray, for a training that takes reference sets from Redis."""

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console

from actors.edge_actor import EdgeActor, VersionedPolicy
from actors.operators.config import ActingConfig
from actors.policy_runner import make_config_env
from actors.search_actor import SearchActor
from distill_rl.algorithms.acting_policy import policy_metadata
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.cli.sections import RUN_SECTION, build_config
from distill_rl.cli.settings import DISTILL, SEARCH_ALGORITHMS
from distill_rl.cli.stop_request import StopRequest
from distill_rl.collected import Collected
from distill_rl.policies.published import decode_policy
from distill_rl.policies.search_policy import make_search_policy
from distill_rl.storage.edge_config import PublicationConfig, RedisConfig, StreamConfig
from distill_rl.storage.policy_subscriber import PolicySubscriber
from distill_rl.storage.redis_client import connect
from distill_rl.storage.reference_producer import ReferenceProducer

_PROGRESS_INTERVAL_SEC = 10.0
_FLUSH_SEC = 10.0
_SHARED_METADATA = ("env", "env_config", "action_repeat")


@dataclasses.dataclass(frozen=True)
class EdgeOutcome:
    """What an actor did.

    Attributes:
      num_env_steps: steps of its environments.
      num_sent_sets: reference sets that Redis has.
      num_dropped_sets: those that were given up.
      policy_version: of the last policy; None if none came.
    """

    num_env_steps: int
    num_sent_sets: int
    num_dropped_sets: int
    policy_version: int | None


class EdgeParts:
    """An actor with its two ends.

    Attributes:
      actor: searches.
      producer: sends reference sets.
      subscriber: receives policies.
    """

    def __init__(self, config: SearchLoopConfig):
        """Builds environments and search, and connects.

        Args:
          config: with `edge.redis_url`; environment and search as in the training.

        Raises:
          ValueError: if the environment cannot be simulated, or Redis refuses the client.
          RedisUnreachableError: if no Redis answers.
        """
        redis_config = config.part(RedisConfig)
        clients = connect(redis_config), connect(redis_config)
        self._envs = [make_config_env(config) for _ in range(config.num_envs_per_env_runner)]
        operator = config.make_operator(self._envs[0], config.make_module(self._envs[0]).networks)
        search_actor = SearchActor(
            self._envs,
            operator.simulator,
            operator,
            config.part(ActingConfig),
            int(np.random.SeedSequence(config.seed).generate_state(1)[0]),
            num_history_steps=config.num_history_steps,
        )
        self.producer = ReferenceProducer(clients[0], redis_config.name, config.part(StreamConfig))
        self.subscriber: PolicySubscriber[VersionedPolicy] = PolicySubscriber(
            clients[1], redis_config.name, _Decoder(config, self._envs[0]), config.part(PublicationConfig)
        )
        self.actor = EdgeActor(search_actor, self.subscriber, self.producer, config.rollout_fragment_length)

    def close(self) -> None:
        """Sends what is left, and disconnects."""
        self.producer.close(_FLUSH_SEC)
        self.subscriber.close()
        for env in self._envs:
            env.close()


def run_edge_actor(
    sections: Mapping[str, Mapping[str, Any]],
    console: Console,
    time_limit_sec: float | None = None,
) -> EdgeOutcome:
    """Searches until a signal comes or the time is over; then sends what is left.

    Args:
      sections: resolved configuration, with `edge.redis_url`; environment and search as in the training.
      console: where progress shows.
      time_limit_sec: None for no limit.

    Raises:
      ValueError: for a mistake in the configuration, or if Redis refuses the client.
      RedisUnreachableError: if no Redis answers.
    """
    # Before anything of `edge`, which the caller put there, is looked at.
    algorithm = sections.get(RUN_SECTION, {}).get("algorithm", DISTILL)
    if algorithm not in SEARCH_ALGORITHMS:
        raise ValueError(f"`preset` must be of a training that searches, got one by {algorithm}")
    config, _ = build_config(sections)
    assert isinstance(config, SearchLoopConfig)
    torch.set_num_threads(1)
    parts = EdgeParts(config)
    progress = _Progress(console, parts.producer, parts.subscriber)
    name = config.part(RedisConfig).name
    console.print(f"actor {parts.producer.actor_id} of run {name!r}", highlight=False, soft_wrap=True)
    deadline = time.monotonic() + time_limit_sec if time_limit_sec is not None else math.inf
    try:
        with StopRequest() as stop:
            parts.actor.run(
                lambda: stop.signal_number is not None or time.monotonic() >= deadline, progress.note
            )
    finally:
        parts.close()
    newest = parts.subscriber.newest
    return EdgeOutcome(
        num_env_steps=progress.num_env_steps,
        num_sent_sets=parts.producer.statistics.num_sent_sets,
        num_dropped_sets=parts.producer.statistics.num_dropped_sets,
        policy_version=newest.policy.policy_version if newest is not None else None,
    )


class _Decoder:
    """Turns messages into policies to search with; refuses those of another task or architecture."""

    def __init__(self, config: SearchLoopConfig, env: gym.Env):
        self._config = config
        self._metadata = {name: policy_metadata(config)[name] for name in _SHARED_METADATA}
        self._max_bytes = config.part(PublicationConfig).max_policy_bytes
        self._env = env

    def __call__(self, message: bytes) -> VersionedPolicy:
        published = decode_policy(message, self._max_bytes)
        of_training = published.description["metadata"]
        for name, own in self._metadata.items():
            if of_training.get(name) != own:
                raise ValueError(
                    f"`{name}` must be that of the training, {of_training.get(name)!r}, got {own!r} here"
                )
        module = self._config.make_module(self._env)
        try:
            module.set_state(published.weights)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"the networks must be those of the training: {error}") from error
        networks = module.networks.eval()
        policy = make_search_policy(networks, self._config.num_policy_steps)
        return VersionedPolicy(policy, published.policy_version)


class _Progress:
    """Prints a line every ten seconds."""

    def __init__(
        self, console: Console, producer: ReferenceProducer, subscriber: PolicySubscriber[VersionedPolicy]
    ):
        self._console, self._producer, self._subscriber = console, producer, subscriber
        self.num_env_steps = 0
        self._last_sec = self._start_sec = time.monotonic()

    def note(self, collected: Collected | None) -> None:
        """Counts a fragment, and prints if it is time to."""
        self.num_env_steps += collected.num_env_steps if collected is not None else 0
        if time.monotonic() - self._last_sec < _PROGRESS_INTERVAL_SEC:
            return
        self._last_sec = time.monotonic()
        sent, newest = self._producer.statistics, self._subscriber.newest
        parts = [
            f"{self._last_sec - self._start_sec:.0f}s",
            f"policy {'none yet' if newest is None else f'v{newest.policy.policy_version}'}",
            f"env steps {self.num_env_steps}",
            f"sent {sent.num_sent_sets} sets in {sent.num_sent_messages} messages",
            f"waiting in Redis {sent.num_outstanding}",
            f"held up {sent.blocked_sec:.0f}s",
            f"drops {sent.num_dropped_sets}",
            f"outages {sent.num_outages + self._subscriber.num_outages}",
            f"refused policies {self._subscriber.num_refused}",
        ]
        self._console.print(" | ".join(parts), highlight=False, soft_wrap=True)
