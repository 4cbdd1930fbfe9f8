"""The Redis edge on the loopback interface: the reference stream, and the publication of policies.

Starts a server of its own, without persistence, and with a log on the disk that is flushed before each answer
(`cluster/redis/edge.conf`). Producer, server and consumer are those of a run, with encoding, digests and
checks at both ends, in processes of their own. A stream of 256 KB batches runs at full speed. Its rate counts
what the consumer has decoded and acknowledged; beside it stand the cpu-seconds that each part took for a
gigabyte, which other programs on the machine disturb less. A policy of 1 MB is published again and again; its
latency is from before it is encoded until the last of the subscribers has it decoded.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measuring import parse_arguments, report, spread

from distill_rl.collected import Collected
from distill_rl.policies.description import describe_policy
from distill_rl.policies.distill_networks import DistillNetworks
from distill_rl.policies.published import decode_policy, encode_policy
from distill_rl.storage.edge_config import EdgeKeys, PublicationConfig, RedisConfig, StreamConfig
from distill_rl.storage.local_redis import LocalRedis
from distill_rl.storage.policy_publisher import PolicyPublisher
from distill_rl.storage.policy_subscriber import PolicySubscriber
from distill_rl.storage.redis_client import connect
from distill_rl.storage.reference_consumer import ReferenceConsumer
from distill_rl.storage.reference_producer import ReferenceProducer
from distill_rl.types import ReferenceSet

_COLUMNS = {
    "what": "what",
    "persistence": "persistence",
    "megabytes_per_sec": "MB/s",
    "producer_cpu_sec_per_gb": "producer (cpu s/GB)",
    "server_cpu_sec_per_gb": "server (cpu s/GB)",
    "consumer_cpu_sec_per_gb": "consumer (cpu s/GB)",
    "median_ms": "median (ms)",
    "p95_ms": "p95 (ms)",
}
_PERSISTENCE = {"none": {}, "flushed": {"appendonly": "yes", "appendfsync": "always"}}
_NAME = "benchmark"
_REFERENCES = EdgeKeys.of(_NAME).references
_OBSERVATION_SIZE, _ACTION_SIZE, _NUM_CANDIDATES = 17, 6, 16  # cheetah
_context = multiprocessing.get_context("spawn")


def main() -> None:
    """Measures both and prints the table."""
    arguments = parse_arguments(
        __doc__,
        batch_kb=256,
        num_producers=1,
        window_sec=4.0,
        num_repeats=7,
        num_subscribers=4,
        policy_kb=1024,
        num_publications=200,
    )
    rows = []
    for persistence, settings in _PERSISTENCE.items():
        with tempfile.TemporaryDirectory() as folder, LocalRedis(folder, settings) as server:
            streams = [_stream(server.url, arguments) for _ in range(arguments.num_repeats)]
            latencies = [_publish(server.url, arguments) for _ in range(arguments.num_repeats)]
        stream_row = {name: spread(np.array([stream[name] for stream in streams])) for name in streams[0]}
        policy_row = {
            "median_ms": spread(np.array([np.median(values) for values in latencies])),
            "p95_ms": spread(np.array([np.quantile(values, 0.95) for values in latencies])),
        }
        stream_name = f"stream, batches of {arguments.batch_kb} KB"
        policy_name = f"policy of {arguments.policy_kb} KB to {arguments.num_subscribers} subscribers"
        for name, row in ((stream_name, stream_row), (policy_name, policy_row)):
            rows.append(dict.fromkeys(_COLUMNS, "") | {"what": name, "persistence": persistence} | row)
    report(rows, _COLUMNS, arguments.json)


def _stream(url: str, arguments: Any) -> dict[str, float]:
    """Returns megabytes per second that went through, and what they cost."""
    stop, costs = _context.Event(), _context.Queue()
    producers = [
        _context.Process(target=_produce, args=(url, arguments.batch_kb * 1024, stop, costs))
        for _ in range(arguments.num_producers)
    ]
    for producer in producers:
        producer.start()
    client = connect(RedisConfig(url))
    consumer = ReferenceConsumer(connect(RedisConfig(url)), _NAME)
    statistics = consumer.statistics

    def consume(until: Callable[[], bool]) -> None:
        while not until():
            consumer.acknowledge(consumer.read(16, 0.1))

    consume(lambda: statistics.num_messages >= 100)  # everybody is at work
    first_bytes, start = statistics.num_bytes, time.monotonic()
    first_cpu_sec, first_server_cpu_sec = time.process_time(), _server_cpu_sec(client)
    consume(lambda: time.monotonic() - start >= arguments.window_sec)
    num_gigabytes = 1e-9 * (statistics.num_bytes - first_bytes)
    result = {
        "megabytes_per_sec": 1e3 * num_gigabytes / (time.monotonic() - start),
        "server_cpu_sec_per_gb": (_server_cpu_sec(client) - first_server_cpu_sec) / num_gigabytes,
        "consumer_cpu_sec_per_gb": (time.process_time() - first_cpu_sec) / num_gigabytes,
    }
    stop.set()
    consume(lambda: not any(producer.is_alive() for producer in producers) and not client.xlen(_REFERENCES))
    assert consumer.ledger.num_missing == statistics.num_dead_letters == 0
    consumer.close()
    result["producer_cpu_sec_per_gb"] = float(np.mean([costs.get() for _ in producers]))
    return result


def _server_cpu_sec(client: Any) -> float:
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def _produce(url: str, batch_bytes: int, stop: Any, costs: Any) -> None:
    collected = _make_collected(batch_bytes)
    producer = ReferenceProducer(connect(RedisConfig(url)), _NAME, StreamConfig(batch_bytes=batch_bytes))
    start_cpu_sec = time.process_time()
    while not stop.is_set():
        producer.put(collected)
    producer.close()
    costs.put((time.process_time() - start_cpu_sec) / (1e-9 * producer.statistics.num_sent_bytes))


def _make_collected(num_bytes: int) -> Collected:
    """Returns a fragment of at least so many bytes, in the sizes of a task."""
    generator = np.random.default_rng(0)
    row_bytes = 4 * (_OBSERVATION_SIZE + _NUM_CANDIDATES * (_ACTION_SIZE + 2) + 2)
    num_states = -(-num_bytes // row_bytes)

    def draw(*shape: int) -> np.ndarray:
        return generator.uniform(-1.0, 1.0, shape).astype(np.float32)

    sets = ReferenceSet(
        observation=draw(num_states, _OBSERVATION_SIZE),
        actions=draw(num_states, _NUM_CANDIDATES, _ACTION_SIZE),
        log_probs=np.full((num_states, _NUM_CANDIDATES), -np.log(_NUM_CANDIDATES), np.float32),
        log_proposals=np.zeros((num_states, _NUM_CANDIDATES), np.float32),
        value=draw(num_states),
        policy_value=draw(num_states),
        policy_version=0,
    )
    return Collected(sets, [], 0, num_states, 0, {})


def _publish(url: str, arguments: Any) -> np.ndarray:
    """Returns the milliseconds that each publication took to reach the last subscriber."""
    arrived = _context.Queue()
    stop = _context.Event()
    subscribers = [
        _context.Process(target=_subscribe, args=(url, arrived, stop))
        for _ in range(arguments.num_subscribers)
    ]
    for subscriber in subscribers:
        subscriber.start()
    for _ in subscribers:
        arrived.get()
    publisher = PolicyPublisher(connect(RedisConfig(url)), _NAME, PublicationConfig(publish_interval_sec=0.0))
    description, weights = _make_policy(arguments.policy_kb * 1024)
    latencies = []
    for version in range(1, arguments.num_publications + 1):
        start = time.monotonic()
        publisher.offer(version, lambda version=version: encode_policy(version, description, weights))
        times = [arrived.get() for _ in subscribers]
        assert {received for received, _ in times} == {version}
        latencies.append(1e3 * (max(moment for _, moment in times) - start))
        time.sleep(0.01)
    stop.set()
    for subscriber in subscribers:
        subscriber.join()
    publisher.close()
    return np.array(latencies)


def _subscribe(url: str, arrived: Any, stop: Any) -> None:
    def decode(message: bytes) -> int:
        return decode_policy(message, PublicationConfig.max_policy_bytes).policy_version

    subscriber = PolicySubscriber(connect(RedisConfig(url)), _NAME, decode)
    before = subscriber.wait(0.5)  # of the repeat before
    publication = None if before is None else before.publication
    arrived.put(None)
    while not stop.is_set():
        newest = subscriber.wait(0.1, publication)
        if newest is not None:
            arrived.put((newest.policy, time.monotonic()))
            publication = newest.publication
    subscriber.close()


def _make_policy(num_bytes: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns description and weights of networks of about so many bytes."""
    width = int((num_bytes / 4 / 2) ** 0.5)  # two networks, each of one large matrix
    networks = DistillNetworks(_OBSERVATION_SIZE, _ACTION_SIZE, hidden_sizes=(width, width))
    weights = {f"networks.{name}": tensor.numpy() for name, tensor in networks.state_dict().items()}
    return describe_policy(networks.policy, {}), weights


if __name__ == "__main__":
    main()
