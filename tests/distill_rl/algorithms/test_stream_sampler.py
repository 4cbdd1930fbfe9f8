"""Fragments of the stream: a message is acknowledged when the loop has told of all its fragments."""

import types

import pytest
from edge_samples import make_collected
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import EPISODE_RETURN_MEAN
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.stream_sampler import STREAM_ACTOR_ID, StreamSampler
from distill_rl.storage.reference_consumer import Delivery
from distill_rl.storage.reference_wire import ReferenceBatch
from distill_rl.storage.stream_statistics import ConsumerStatistics


class Consumer:
    """Has messages of so many fragments each, and notes what is acknowledged."""

    def __init__(self, *sizes):
        self.statistics = ConsumerStatistics()
        self.acknowledged = []
        self.num_released = 0
        fragment = make_collected()
        self._waiting = [
            Delivery(b"%d" % number, ReferenceBatch("a", number, (fragment,) * size))
            for number, size in enumerate(sizes)
        ]

    def read(self, max_messages, block_sec):
        deliveries, self._waiting = self._waiting[:max_messages], self._waiting[max_messages:]
        return deliveries

    def acknowledge(self, deliveries):
        self.acknowledged += [delivery.entry_id for delivery in deliveries]

    def release(self):
        self.num_released += 1


def _sampler(*sizes):
    consumer, gate = Consumer(*sizes), FragmentGate()
    return StreamSampler(consumer, gate, None, "run"), consumer, gate


def test_no_more_fragments_than_there_is_room_for():
    """Those of a larger message wait; nothing is read without room."""
    sampler, _, _ = _sampler(3, 1)
    assert sampler.poll() == []
    numbers = []
    for _ in range(3):
        sampler.request(2)
        numbers += [[fragment.header.sequence for fragment in sampler.poll()]]
        assert sampler.poll() == []
    assert numbers == [[0, 1], [2, 3], []]


def test_message_is_acknowledged_with_its_last_fragment():
    """In whatever order the loop tells of them; once."""
    sampler, consumer, _ = _sampler(2, 1)
    sampler.request(3)
    first, second, third = sampler.poll()
    sampler.settle([third, first])
    assert consumer.acknowledged == [b"1"]
    sampler.settle([second])
    assert consumer.acknowledged == [b"1", b"0"]


def test_gate_accepts_each_fragment_once():
    """They have numbers of their own, under an id that no env runner has."""
    sampler, _, gate = _sampler(2)
    sampler.request(9)
    for fragment in sampler.poll():
        header = fragment.header
        assert header.actor_id == STREAM_ACTOR_ID
        names = ("actor_id", "sequence", "policy_version", "num_sets")
        of_header = {name: getattr(header, name) for name in names}
        assert [gate.accept(**of_header) for _ in range(2)] == [True, False]
        assert header.num_sets == header.num_env_steps == len(fragment.reference_set) == 4


def test_forgotten_messages_are_not_acknowledged():
    """What waits is given back, to come again."""
    sampler, consumer, _ = _sampler(2)
    sampler.request(1)
    assert len(sampler.poll()) == 1
    sampler.forget()
    sampler.request(9)
    assert sampler.poll() == []
    assert (consumer.acknowledged, consumer.num_released) == ([], 1)


def test_description_names_the_run_and_what_came():
    """For whoever wonders why nothing happens."""
    sampler, consumer, _ = _sampler()
    consumer.statistics.num_dead_letters = 7
    assert "'run' (0 messages so far, 7 dead letters, Redis away 0 times)" in sampler.describe()
    assert sampler.pending == []


@pytest.mark.parametrize("has_room", [False, True])
def test_wait_reads_only_into_room(has_room):
    """What it reads is there at the next look."""
    sampler, consumer, _ = _sampler(1)
    sampler.request(int(has_room))
    sampler.wait(0.0)
    assert len(consumer._waiting) == int(not has_room)
    assert len(sampler.poll()) == int(has_room)


@pytest.mark.parametrize("is_stream_first", [True, False])
def test_metrics_merge_with_those_of_env_runners(is_stream_first):
    """Both kinds of actors may end an episode in one iteration, either of them first."""
    sampler, _, _ = _sampler(1)
    sampler.request(1)
    (fragment,) = sampler.poll()
    runner = types.SimpleNamespace(
        config=types.SimpleNamespace(metrics_num_episodes_for_smoothing=100, num_env_runners=1),
        metrics=MetricsLogger(),
    )
    episodes = fragment.header.episodes
    mean_return = sum(episode.episode_return for episode in episodes) / len(episodes)
    SingleAgentEnvRunner._log_episode_metrics(runner, 10, mean_return + 8.0, 0.1)
    both = [fragment.header.metrics, runner.metrics.reduce()]
    root = MetricsLogger(root=True)
    for metrics in both if is_stream_first else reversed(both):
        root.aggregate([metrics], key="env_runners")
    assert root.peek(("env_runners", EPISODE_RETURN_MEAN)) == pytest.approx(mean_return + 4.0)
