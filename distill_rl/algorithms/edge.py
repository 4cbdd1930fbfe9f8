"""The loop's edge: what comes from, and goes to, whoever is outside Ray."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from actors.policy_runner import make_config_env
from distill_rl.algorithms.acting_policy import acting_critic, policy_metadata
from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.sampling import RemoteSampler
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.algorithms.stream_sampler import StreamSampler
from distill_rl.checks import check_shape
from distill_rl.policies.description import describe_policy
from distill_rl.policies.published import encode_policy
from distill_rl.storage.edge_config import PublicationConfig, RedisConfig, StreamConfig
from distill_rl.storage.policy_publisher import PolicyPublisher
from distill_rl.storage.redis_client import connect
from distill_rl.storage.reference_consumer import ReferenceConsumer
from distill_rl.types import ReferenceSet


class Edge:
    """Takes reference sets from Redis, and publishes policies there.

    Attributes:
      consumer: of the reference stream.
      publisher: of the policies.
    """

    def __init__(self, config: SearchLoopConfig) -> None:
        """Connects, and checks that Redis lets the client in.

        Args:
          config: with `edge.redis_url`.

        Raises:
          ValueError: if the section `edge` is wrong, or the client is refused.
          RedisUnreachableError: if nobody answers.
        """
        redis_config = config.part(RedisConfig)
        self._name = redis_config.name
        env = make_config_env(config)
        networks = config.make_module(env).networks
        env.close()
        metadata = policy_metadata(config)
        self._description = describe_policy(
            networks.policy, metadata, networks.encoder, acting_critic(networks, metadata)
        )
        sizes = (networks.encoder or networks.policy).observation_size, networks.policy.action_size
        self.consumer = ReferenceConsumer(
            connect(redis_config),
            self._name,
            config.part(StreamConfig),
            lambda reference_set: _check_sizes(reference_set, *sizes),
        )
        self.publisher = PolicyPublisher(connect(redis_config), self._name, config.part(PublicationConfig))

    def make_sampler(self, gate: FragmentGate, env_runners: RemoteSampler | None) -> StreamSampler:
        """Returns where the loop's fragments come from."""
        return StreamSampler(self.consumer, gate, env_runners, self._name)

    def publish(self, policy_version: int, weights: Mapping[str, Any]) -> None:
        """Publishes weights, or notes them if the last ones have gone out just now."""
        kept = {name: np.array(value) for name, value in weights.items()}  # those of a learner here move on
        self.publisher.offer(policy_version, lambda: encode_policy(policy_version, self._description, kept))

    def result(self) -> dict[str, float]:
        """Returns what a result of the loop shows."""
        counters = dataclasses.asdict(self.consumer.statistics)
        return {
            **{f"stream_{name.removeprefix('num_')}": value for name, value in counters.items()},
            "stream_missing": self.consumer.ledger.num_missing,
            "stream_actors": self.consumer.ledger.num_actors,
            "stream_silent_sec": time.monotonic() - self.consumer.last_message_sec,
            "published_policies": self.publisher.num_published,
            "publication_outages": self.publisher.num_outages,
        }

    def close(self) -> None:
        """Publishes the last policy, and disconnects."""
        try:
            self.publisher.close()
        finally:
            self.consumer.close()


def _check_sizes(reference_set: ReferenceSet, observation_size: int, action_size: int) -> None:
    check_shape("observation", reference_set.observation, (None, observation_size))
    check_shape("actions", reference_set.actions, (None, None, action_size))
