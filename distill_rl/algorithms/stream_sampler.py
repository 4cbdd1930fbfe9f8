"""Reference sets from actors outside Ray, beside those of env runners or in their place."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import ray
from ray.rllib.core import DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from actors.fragment import FragmentHeader
from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.sampling import Fragment, RemoteSampler, Sampler
from distill_rl.collected import Collected
from distill_rl.storage.reference_consumer import Delivery, ReferenceConsumer

STREAM_ACTOR_ID = -1
"""Stands for all actors outside Ray in the gate, which the consumer's own ledger saves from duplicates."""


@dataclasses.dataclass(frozen=True)
class StreamedFragment(Fragment):
    """A fragment that came with a message, to be acknowledged when the learner has it."""

    delivery: Delivery


class StreamSampler(Sampler):
    """Hands out fragments of the stream, and requests of the loop on to the env runners, if there are any.

    A message is acknowledged when the loop has told, by `settle`, of each of its fragments.

    Args:
      consumer: reads the stream.
      gate: numbers the fragments.
      env_runners: those of Ray that search too; None if there are none.
      name: of the run in Redis, for messages.
    """

    may_be_silent = True

    def __init__(
        self, consumer: ReferenceConsumer, gate: FragmentGate, env_runners: RemoteSampler | None, name: str
    ) -> None:
        self.consumer = consumer
        self._gate = gate
        self._env_runners = env_runners
        self._name = name
        self._room = 0
        self._waiting: collections.deque[tuple[Delivery, Collected]] = collections.deque()
        self._num_unsettled: dict[bytes, int] = {}

    @property
    def pending(self) -> list[ray.ObjectRef]:
        """References to wait on: those of the env runners."""
        return self._env_runners.pending if self._env_runners is not None else []

    def request(self, max_requests: int) -> None:
        """Asks the env runners for fragments, and notes for how many more there is room."""
        before = len(self.pending)
        if self._env_runners is not None:
            self._env_runners.request(max_requests)
        self._room = max(0, max_requests - (len(self.pending) - before))

    def poll(self) -> list[Fragment]:
        """Returns what is ready, without waiting."""
        fragments = self._env_runners.poll() if self._env_runners is not None else []
        return [*fragments, *self._take(0.0)]

    def wait(self, timeout_sec: float) -> None:
        """Waits for a message, if there is room for it; the next `poll` returns what came."""
        if self._room and not self._waiting:
            self._read(timeout_sec)

    def settle(self, fragments: Sequence[Fragment]) -> None:
        """Notes that the learner has some fragments, or that they were dropped and counted."""
        done = []
        for fragment in fragments:
            if isinstance(fragment, StreamedFragment):
                entry_id = fragment.delivery.entry_id
                self._num_unsettled[entry_id] -= 1
                if not self._num_unsettled[entry_id]:
                    del self._num_unsettled[entry_id]
                    done.append(fragment.delivery)
        if done:
            self.consumer.acknowledge(done)

    def get_state(self) -> dict[str, Any]:
        """Returns which messages were acknowledged."""
        return self.consumer.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned; what was not acknowledged comes again."""
        self.forget()
        self.consumer.set_state(state)

    def forget(self) -> None:
        """Forgets what was not settled; it comes again later."""
        self._waiting.clear()
        self._num_unsettled.clear()
        self.consumer.release()

    def check(self) -> None:
        """Looks after the env runners."""
        if self._env_runners is not None:
            self._env_runners.check()

    def describe(self) -> str:
        """Says whom it waits for, for messages."""
        statistics = self.consumer.statistics
        own = (
            f"the reference stream {self._name!r} ({statistics.num_messages} messages so far, "
            f"{statistics.num_dead_letters} dead letters, Redis away {statistics.num_outages} times)"
        )
        return own if self._env_runners is None else f"{own}, {self._env_runners.describe()}"

    def _take(self, block_sec: float) -> list[StreamedFragment]:
        if self._room and not self._waiting:
            self._read(block_sec)
        fragments = []
        while self._waiting and self._room:
            delivery, collected = self._waiting.popleft()
            header = _header(collected, self._gate.issue(STREAM_ACTOR_ID))
            fragments.append(StreamedFragment(header, collected.reference_set, delivery))
            self._room -= 1
        return fragments

    def _read(self, block_sec: float) -> None:
        for delivery in self.consumer.read(self._room, block_sec):
            self._num_unsettled[delivery.entry_id] = len(delivery.batch.collected)
            self._waiting.extend((delivery, collected) for collected in delivery.batch.collected)


def _header(collected: Collected, sequence: int) -> FragmentHeader:
    return FragmentHeader(
        actor_id=STREAM_ACTOR_ID,
        sequence=sequence,
        policy_version=collected.reference_set.policy_version,
        num_sets=len(collected.reference_set),
        num_env_steps=collected.num_env_steps,
        num_simulator_steps=collected.num_simulator_steps,
        episodes=tuple(collected.episodes),
        num_dropped_episodes=collected.num_dropped_episodes,
        num_failed_pulls=0,
        statistics=collected.metrics,
        metrics=_metrics(collected),
    )


def _metrics(collected: Collected) -> Any:
    """Returns what an env runner of RLlib would have logged: RLlib counts steps to end its iterations."""
    logger = MetricsLogger()
    num_steps, num_episodes = collected.num_env_steps, len(collected.episodes)
    for name, value in (
        (NUM_ENV_STEPS_SAMPLED, num_steps),
        ((NUM_AGENT_STEPS_SAMPLED, DEFAULT_AGENT_ID), num_steps),
        ((NUM_MODULE_STEPS_SAMPLED, DEFAULT_MODULE_ID), num_steps),
        (NUM_EPISODES, num_episodes),
    ):
        logger.log_value(name, value, reduce="sum")
    for name, value in (
        (NUM_ENV_STEPS_SAMPLED_LIFETIME, num_steps),
        ((NUM_AGENT_STEPS_SAMPLED_LIFETIME, DEFAULT_AGENT_ID), num_steps),
        ((NUM_MODULE_STEPS_SAMPLED_LIFETIME, DEFAULT_MODULE_ID), num_steps),
        (NUM_EPISODES_LIFETIME, num_episodes),
    ):
        logger.log_value(name, value, reduce="lifetime_sum")
    for episode in collected.episodes:
        # With a window, or they would be of a kind that does not merge with those of env runners.
        logger.log_value(EPISODE_RETURN_MEAN, episode.episode_return, window=num_episodes)
        logger.log_value(EPISODE_LEN_MEAN, episode.num_steps, window=num_episodes)
    return logger.reduce()
