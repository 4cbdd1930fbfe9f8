"""Producer and consumer of the reference stream, over a real server."""

import threading
import time

import numpy as np
import pytest
from edge_samples import assert_same, make_collected

from distill_rl.storage.edge_config import EdgeKeys, RedisConfig, StreamConfig
from distill_rl.storage.local_redis import LocalRedis
from distill_rl.storage.redis_client import RedisRefusedError, connect
from distill_rl.storage.reference_consumer import ReferenceConsumer
from distill_rl.storage.reference_producer import ReferenceProducer
from distill_rl.storage.reference_stream import MESSAGE_FIELD
from distill_rl.storage.reference_wire import ReferenceBatch, encode_batch

_KEYS = EdgeKeys.of("run")
_SMALL = StreamConfig(batch_bytes=1, max_delay_sec=0.05, claim_idle_sec=0.2)


def _connect(server):
    return connect(RedisConfig(server.url))


def _read_until(consumer, num_messages, timeout_sec=10.0):
    """Returns messages as they come, until there are enough."""
    deliveries, deadline = [], time.monotonic() + timeout_sec
    while len(deliveries) < num_messages and time.monotonic() < deadline:
        deliveries += consumer.read(16, 0.05)
    return deliveries


def _send(client, sequence, actor_id="a"):
    message = encode_batch(ReferenceBatch(actor_id, sequence, (make_collected(2, sequence),)))
    client.xadd(_KEYS.references, {MESSAGE_FIELD: message})
    return message


def test_everything_arrives_once_and_leaves_the_stream(local_redis):
    """Fragments come in order and unchanged; what is acknowledged is gone from Redis."""
    producer = ReferenceProducer(_connect(local_redis), "run", _SMALL)
    sent = [make_collected(3, seed) for seed in range(5)]
    assert all(producer.put(collected) for collected in sent)
    assert producer.flush(10.0)
    consumer = ReferenceConsumer(_connect(local_redis), "run", _SMALL)
    deliveries = _read_until(consumer, 5)
    for expected, delivery in zip(sent, deliveries, strict=True):
        assert delivery.batch.actor_id == producer.actor_id
        assert_same(expected, delivery.batch.collected[0])
    client = _connect(local_redis)
    assert client.xlen(_KEYS.references) == 5
    consumer.acknowledge(deliveries)
    assert client.xlen(_KEYS.references) == 0
    assert consumer.read(16) == []
    assert consumer.statistics.num_acknowledged == producer.statistics.num_sent_messages == 5
    producer.close()
    assert producer.statistics.num_dropped_sets == 0


def test_small_fragments_travel_together(local_redis):
    """Fragments wait for a full batch; a batch that stays small leaves after the longest delay."""
    config = StreamConfig(batch_bytes=12_000, max_delay_sec=0.3)
    producer = ReferenceProducer(_connect(local_redis), "run", config)
    consumer = ReferenceConsumer(_connect(local_redis), "run", config)
    for seed in range(10):
        producer.put(make_collected(8, seed))  # 2 KB each
    batches = [delivery.batch for delivery in _read_until(consumer, 2)]
    sizes = [len(batch.collected) for batch in batches]
    assert sum(sizes) == 10
    assert sizes[0] > 2
    assert [batch.sequence for batch in batches] == [0, 1]
    producer.close()


def test_duplicates_and_gaps_are_counted(local_redis):
    """A message that comes twice counts once; one that never comes is missing until it does."""
    client, consumer = _connect(local_redis), ReferenceConsumer(_connect(local_redis), "run", _SMALL)
    for sequence in (0, 1, 1, 0, 5, 3):
        _send(client, sequence)
    deliveries = _read_until(consumer, 4)
    assert [delivery.batch.sequence for delivery in deliveries] == [0, 1, 5, 3]
    assert consumer.statistics.num_duplicates == 2
    consumer.acknowledge(deliveries)
    assert consumer.ledger.num_missing == 2
    _send(client, 4)
    _send(client, 5)
    consumer.acknowledge(_read_until(consumer, 1))
    assert consumer.ledger.num_missing == 1
    assert consumer.read(16) == []
    assert consumer.statistics.num_duplicates == 3
    assert client.xlen(_KEYS.references) == 0


def test_dead_consumer_is_succeeded(local_redis):
    """What a consumer read and did not acknowledge comes to the next one, which knows what came before."""
    client, first = _connect(local_redis), ReferenceConsumer(_connect(local_redis), "run", _SMALL)
    for sequence in range(4):
        _send(client, sequence)
    deliveries = _read_until(first, 4)
    first.acknowledge(deliveries[:2])
    second = ReferenceConsumer(_connect(local_redis), "run", _SMALL)
    second.set_state(first.get_state())
    assert second.read(16) == []
    time.sleep(0.3)
    claimed = _read_until(second, 2)
    assert [delivery.batch.sequence for delivery in claimed] == [2, 3]
    assert second.statistics.num_claimed == 2
    second.acknowledge(claimed)
    assert second.ledger.num_missing == 0
    assert client.xlen(_KEYS.references) == 0


def test_own_messages_are_not_claimed_while_the_learner_works(local_redis):
    """A learner that takes longer than the claim time does not get its messages twice."""
    client, consumer = _connect(local_redis), ReferenceConsumer(_connect(local_redis), "run", _SMALL)
    _send(client, 0)
    deliveries = _read_until(consumer, 1)
    time.sleep(0.3)
    assert consumer.read(16) == []
    consumer.release()
    time.sleep(0.3)
    assert [d.batch.sequence for d in _read_until(consumer, 1)] == [d.batch.sequence for d in deliveries]


def test_long_work_is_no_failed_delivery(local_redis):
    """A message that a slow learner held for long, reading on, comes to its successor all the same."""
    config = StreamConfig(claim_idle_sec=0.05, max_deliveries=2)
    first = ReferenceConsumer(_connect(local_redis), "run", config)
    _send(_connect(local_redis), 0)
    assert _read_until(first, 1)
    for _ in range(5):
        time.sleep(0.06)
        assert first.read(16) == []
    second = ReferenceConsumer(_connect(local_redis), "run", config)
    assert [delivery.batch.sequence for delivery in _read_until(second, 1)] == [0]
    assert second.statistics.num_dead_letters == 0


def test_message_that_kills_its_readers_is_put_aside(local_redis):
    """A message handed out too often becomes a dead letter, and is not decoded again."""
    client = _connect(local_redis)
    _send(client, 0)
    config = StreamConfig(claim_idle_sec=0.05, max_deliveries=2)
    for _ in range(2):
        assert _read_until(ReferenceConsumer(_connect(local_redis), "run", config), 1)
        time.sleep(0.1)
    consumer = ReferenceConsumer(_connect(local_redis), "run", config)
    assert consumer.read(16) == []
    assert consumer.statistics.num_dead_letters == 1
    (_, letter) = client.xrange(_KEYS.dead_letters)[0]
    assert letter[b"reason"] == b"handed out 2 times and never acknowledged"


def test_thousand_mutated_messages_are_put_aside(local_redis):
    """Damaged messages are counted and kept for a look, and the consumer goes on."""
    client, consumer = _connect(local_redis), ReferenceConsumer(_connect(local_redis), "run", _SMALL)
    good = _send(client, 0)
    generator = np.random.default_rng(0)
    pipeline = client.pipeline(transaction=False)
    for number in range(1000):
        message, field = bytearray(good), MESSAGE_FIELD
        place = int(generator.integers(len(message)))
        kind = number % 4
        if kind == 0:
            message[place] ^= int(generator.integers(1, 256))
        elif kind == 1:
            del message[place:]
        elif kind == 2:
            message = bytearray(generator.bytes(len(message)))
        else:
            field = b"payload"
        pipeline.xadd(_KEYS.references, {field: bytes(message)})
    pipeline.execute()
    _send(client, 1)
    deliveries = _read_until(consumer, 2)
    assert [delivery.batch.sequence for delivery in deliveries] == [0, 1]
    assert consumer.statistics.num_dead_letters == 1000
    consumer.acknowledge(deliveries)
    assert client.xlen(_KEYS.references) == 0
    assert 1000 <= client.xlen(_KEYS.dead_letters) <= 1100


def test_sets_of_no_use_are_put_aside(local_redis):
    """What the learner's own check refuses never reaches it."""

    def check(reference_set):
        if reference_set.observation.shape[1] != 5:
            raise ValueError(f"`observation` must have 5 entries, got {reference_set.observation.shape[1]}")

    producer = ReferenceProducer(_connect(local_redis), "run", _SMALL)
    consumer = ReferenceConsumer(_connect(local_redis), "run", _SMALL, check)
    producer.put(make_collected(2, observation_size=7))
    producer.put(make_collected(2, observation_size=5))
    producer.flush(10.0)
    assert [delivery.batch.sequence for delivery in _read_until(consumer, 1)] == [1]
    assert consumer.statistics.num_dead_letters == 1
    producer.close()


def test_slow_consumer_holds_producers_up(local_redis):
    """Redis never holds more than allowed, the producer waits, and nothing is lost."""
    config = StreamConfig(batch_bytes=1, max_outstanding=4, max_buffered_batches=3)
    producer = ReferenceProducer(_connect(local_redis), "run", config)
    consumer = ReferenceConsumer(_connect(local_redis), "run", config)
    client, most = _connect(local_redis), 0
    sender = threading.Thread(target=lambda: [producer.put(make_collected(2, seed)) for seed in range(30)])
    sender.start()
    received = []
    while len(received) < 30:
        most = max(most, client.xlen(_KEYS.references))
        deliveries = consumer.read(2, 0.1)
        consumer.acknowledge(deliveries)
        received += [delivery.batch.sequence for delivery in deliveries]
        time.sleep(0.01)
    sender.join()
    assert received == list(range(30))
    assert 1 <= most <= 4
    assert producer.statistics.blocked_sec > 0.0
    assert producer.statistics.num_dropped_sets == 0
    producer.close()


def test_full_buffer_drops_and_tells(local_redis):
    """With a limit to its patience a producer gives sets up, and both ends know how many."""
    config = StreamConfig(batch_bytes=1, max_outstanding=2, max_buffered_batches=2, max_block_sec=0.0)
    producer = ReferenceProducer(_connect(local_redis), "run", config)
    taken = []
    for seed in range(20):
        taken.append(producer.put(make_collected(3, seed)))
        time.sleep(0.005)
    num_dropped = 3 * taken.count(False)
    assert num_dropped > 0
    assert producer.statistics.num_dropped_sets == num_dropped
    consumer, num_read = ReferenceConsumer(_connect(local_redis), "run", config), 0
    while num_read < taken.count(True):
        deliveries = consumer.read(4, 0.1)
        consumer.acknowledge(deliveries)
        num_read += len(deliveries)
    assert producer.put(make_collected(3))
    producer.flush(10.0)
    _read_until(consumer, 1)
    assert consumer.statistics.num_dropped_sets == num_dropped
    assert consumer.ledger.num_missing == 0
    producer.close()


def test_what_was_dropped_before_a_resume_is_counted_once(local_redis):
    """Actors tell how much they gave up in all; whoever resumes knows how much of that was counted."""
    client = _connect(local_redis)
    consumers = [ReferenceConsumer(_connect(local_redis), "run", _SMALL) for _ in range(2)]
    for sequence, (consumer, num_dropped) in enumerate(zip(consumers, (7, 9))):
        batch = ReferenceBatch("a", sequence, (make_collected(2),), num_dropped)
        client.xadd(_KEYS.references, {MESSAGE_FIELD: encode_batch(batch)})
        consumer.acknowledge(_read_until(consumer, 1))
        assert consumer.statistics.num_dropped_sets == num_dropped
        consumers[1].set_state(consumer.get_state())


def test_new_producer_looks_before_it_sends(local_redis):
    """An actor that starts while the stream is full waits, like those that filled it."""
    client, config = _connect(local_redis), StreamConfig(batch_bytes=1, max_outstanding=3)
    for sequence in range(3):
        _send(client, sequence)
    producer = ReferenceProducer(_connect(local_redis), "run", config)
    producer.put(make_collected(2))
    assert not producer.flush(0.3)
    assert client.xlen(_KEYS.references) == 3
    client.delete(_KEYS.references)
    assert producer.flush(10.0)
    producer.close()


def test_producer_that_cannot_go_on_tells_whoever_hands_in(local_redis):
    """A key of another kind is nothing to wait out; what was not sent does not count as sent."""
    _connect(local_redis).set(_KEYS.references, "not a stream")
    producer = ReferenceProducer(_connect(local_redis), "run", _SMALL)
    producer.put(make_collected(3))
    assert not producer.flush(10.0)
    with pytest.raises(RedisRefusedError, match="WRONGTYPE"):
        producer.put(make_collected(2))
    with pytest.raises(RedisRefusedError, match="WRONGTYPE"):
        producer.wait_for_room(1.0)
    producer.close()
    assert producer.statistics.num_dropped_sets == 3


def test_no_message_is_too_large_for_its_reader(local_redis):
    """Fragments of nearly half a message do not go together: their header would be too much."""
    config = StreamConfig(batch_bytes=2**20, max_delay_sec=60.0, max_message_bytes=32_000)
    producer = ReferenceProducer(_connect(local_redis), "run", config)
    for _ in range(3):
        producer.put(make_collected(72))  # of 220 bytes a state
    assert producer.flush(10.0)
    consumer = ReferenceConsumer(_connect(local_redis), "run", config)
    _read_until(consumer, producer.statistics.num_sent_messages)
    assert consumer.statistics.num_sets == 216
    assert consumer.statistics.num_dead_letters == 0
    producer.close()


def test_fragments_of_a_message_are_bounded(local_redis):
    """Each takes a place in the header, however small it is."""
    config = StreamConfig(batch_bytes=2**30, max_delay_sec=60.0)
    producer = ReferenceProducer(_connect(local_redis), "run", config)
    collected = make_collected(1)
    for _ in range(300):
        producer.put(collected)
    assert producer.flush(10.0)
    assert producer.statistics.num_sent_messages == 2
    producer.close()


def test_number_of_messages_is_checked(local_redis):
    """Redis takes 0 for all."""
    with pytest.raises(ValueError, match="`max_messages` must be an integer of at least 1, got 0"):
        ReferenceConsumer(_connect(local_redis), "run").read(0)


def test_outage_is_waited_out(tmp_path):
    """A server that is killed and started again loses nothing that it acknowledged; nobody sees an error."""
    config = StreamConfig(batch_bytes=1)
    with LocalRedis(tmp_path, {"appendonly": "yes", "appendfsync": "always"}) as server:
        producer = ReferenceProducer(_connect(server), "run", config)
        consumer = ReferenceConsumer(_connect(server), "run", config)
        for seed in range(20):
            if seed == 10:
                server.kill()
            producer.put(make_collected(2, seed))
            if seed < 10:
                producer.flush(5.0)
        assert consumer.read(4) == []
        acknowledged = producer.statistics.num_sent_messages
        assert acknowledged == 10
        server.start()
        deliveries = _read_until(consumer, 20, 30.0)
        assert sorted({delivery.batch.sequence for delivery in deliveries}) == list(range(20))
        assert len(deliveries) == 20
        assert producer.statistics.num_outages > 0
        assert consumer.statistics.num_outages > 0
        producer.close()


def test_server_without_memory_is_waited_out(local_redis):
    """A full server takes nothing and loses nothing; the producer waits until there is room."""
    client, config = _connect(local_redis), StreamConfig(batch_bytes=1)
    producer = ReferenceProducer(_connect(local_redis), "run", config)
    consumer = ReferenceConsumer(_connect(local_redis), "run", config)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    for seed in range(4):
        producer.put(make_collected(8, seed))
    deadline = time.monotonic() + 10.0
    while not producer.statistics.num_outages and time.monotonic() < deadline:
        time.sleep(0.01)
    assert producer.statistics.num_outages > 0
    client.config_set("maxmemory", "0")
    deliveries = _read_until(consumer, 4, 20.0)
    assert sorted(delivery.batch.sequence for delivery in deliveries) == [0, 1, 2, 3]
    producer.close()


def test_closed_producer_counts_what_it_could_not_send(tmp_path):
    """What is left when a producer closes without a server is given up, and counted."""
    with LocalRedis(tmp_path) as server:
        producer = ReferenceProducer(_connect(server), "run", _SMALL)
        server.kill()
        producer.put(make_collected(3))
        producer.close(timeout_sec=0.2)
        assert producer.statistics.num_dropped_sets == 3
        assert producer.put(make_collected(2)) is False
        assert producer.statistics.num_dropped_sets == 5


def test_fragment_that_nobody_would_take_is_an_error(local_redis):
    """A fragment that breaks the contract, or that no message may hold, is refused where it is made."""
    producer = ReferenceProducer(_connect(local_redis), "run", StreamConfig(max_message_bytes=10_000))
    broken = make_collected(2)
    broken.reference_set.actions[0, 0, 0] = 2.0
    with pytest.raises(ValueError, match="`actions` must lie in"):
        producer.put(broken)
    with pytest.raises(ValueError, match="at most 5000 bytes, half of max_message_bytes, got"):
        producer.put(make_collected(100))
    producer.close()
