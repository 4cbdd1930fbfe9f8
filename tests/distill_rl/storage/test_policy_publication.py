"""Publication of policies, over a real server."""

import dataclasses
import time

import pytest
import redis
from redis.client import Pipeline

from distill_rl.storage.edge_config import EdgeKeys, PublicationConfig, RedisConfig
from distill_rl.storage.local_redis import LocalRedis
from distill_rl.storage.policy_publisher import PolicyPublisher
from distill_rl.storage.policy_subscriber import PolicySubscriber
from distill_rl.storage.redis_client import connect

_KEYS = EdgeKeys.of("run")
_CONFIG = PublicationConfig(publish_interval_sec=0.0, num_kept_policies=2, poll_interval_sec=0.3)


def _decode(message: bytes) -> str:
    if b"bad" in message:
        raise ValueError("bad policy")
    return message.decode()


def _publisher(server, config=_CONFIG, **options):
    return PolicyPublisher(connect(RedisConfig(server.url)), "run", config, **options)


def _subscriber(server, config=_CONFIG):
    return PolicySubscriber(connect(RedisConfig(server.url)), "run", _decode, config)


def _offer(publisher, version, content=None):
    publisher.offer(version, lambda: (content or f"policy {version}").encode())


def _kept(server) -> set[bytes]:
    """Returns the policies that are in Redis."""
    client = connect(RedisConfig(server.url))
    named = {_KEYS.newest_policy, _KEYS.kept_policies}
    return {client.get(key) for key in client.keys(f"{_KEYS.policies}*") if key.decode() not in named}


def _wait_for(condition, timeout_sec=10.0):
    deadline = time.monotonic() + timeout_sec
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_subscribers_follow_at_once_and_from_late(local_redis):
    """Whoever listens gets each policy; whoever comes late gets the newest one; old ones are removed."""
    publisher, subscriber = _publisher(local_redis), _subscriber(local_redis)
    assert subscriber.newest is None
    _offer(publisher, 1)
    first = subscriber.wait(5.0)
    assert first.policy == "policy 1"
    assert subscriber.wait(0.05, first.publication) is None
    for version in (2, 3, 4):
        _offer(publisher, version)
    _wait_for(lambda: subscriber.newest.policy == "policy 4")
    late = _subscriber(local_redis)
    assert late.wait(5.0).policy == "policy 4"
    assert _kept(local_redis) == {b"policy 3", b"policy 4"}
    successor = _publisher(local_redis)
    _offer(successor, 5)
    assert _kept(local_redis) == {b"policy 4", b"policy 5"}
    successor.close()
    for party in (publisher, subscriber, late):
        party.close()


def test_older_version_after_a_restore_is_followed(local_redis):
    """Publications have numbers of their own: versions may go back."""
    publisher, subscriber = _publisher(local_redis), _subscriber(local_redis)
    _offer(publisher, 100)
    subscriber.wait(5.0)
    _offer(publisher, 50)
    _wait_for(lambda: subscriber.newest.policy == "policy 50")
    publisher.close()
    subscriber.close()


def test_damaged_policy_never_acts(local_redis):
    """A policy that cannot be decoded is counted, and the one before it stays, until a good one comes."""
    publisher, subscriber = _publisher(local_redis), _subscriber(local_redis)
    _offer(publisher, 1)
    subscriber.wait(5.0)
    _offer(publisher, 2, "bad")
    _wait_for(lambda: subscriber.num_refused == 1)
    assert subscriber.newest.policy == "policy 1"
    time.sleep(0.7)  # two looks later
    assert subscriber.num_refused == 1
    _offer(publisher, 3)
    _wait_for(lambda: subscriber.newest.policy == "policy 3")
    publisher.close()
    subscriber.close()


def test_lost_notice_is_made_up_for(local_redis):
    """A policy that no notice told of is found by looking."""
    subscriber, client = _subscriber(local_redis), connect(RedisConfig(local_redis.url))
    _wait_for(lambda: client.pubsub_numsub(_KEYS.notices)[0][1] == 1)
    client.set(f"{_KEYS.policies}9", b"silent")
    client.set(_KEYS.newest_policy, 9)
    assert subscriber.wait(5.0).policy == "silent"
    subscriber.close()


def test_publications_keep_their_distance(local_redis):
    """Policies between two publications are skipped, but never the newest."""
    now = [0.0]
    config = PublicationConfig(publish_interval_sec=10.0)
    publisher = _publisher(local_redis, config, clock=lambda: now[0])
    for version in range(5):
        _offer(publisher, version)
    assert publisher.num_published == 1
    assert _kept(local_redis) == {b"policy 0"}
    now[0] = 11.0
    publisher.poll()
    assert _kept(local_redis) == {b"policy 0", b"policy 4"}
    _offer(publisher, 5)
    publisher.close()
    assert _kept(local_redis) == {b"policy 0", b"policy 4", b"policy 5"}
    assert publisher.policy_version == 5


def test_outage_is_waited_out(tmp_path):
    """Without a server the last policy stays and training goes on; afterwards both ends find each other."""
    with LocalRedis(tmp_path) as server:
        publisher, subscriber = _publisher(server), _subscriber(server)
        _offer(publisher, 1)
        subscriber.wait(5.0)
        server.kill()
        _wait_for(lambda: subscriber.num_outages > 0)
        _offer(publisher, 2)
        assert publisher.num_outages == 1
        assert subscriber.newest.policy == "policy 1"
        server.start()  # without a file: all is gone, also the numbers

        def is_new() -> bool:
            publisher.poll()
            return subscriber.newest.policy == "policy 2"

        _wait_for(is_new)
        publisher.close()
        subscriber.close()


def test_policy_after_a_lost_answer_is_followed(local_redis, monkeypatch):
    """A publication that arrived, though its answer did not, is another one than the next try's."""
    publisher = _publisher(local_redis, dataclasses.replace(_CONFIG, num_kept_policies=1))
    subscriber, execute = _subscriber(local_redis), Pipeline.execute

    def lose_the_answer(pipeline):
        execute(pipeline)
        raise redis.TimeoutError

    monkeypatch.setattr(Pipeline, "execute", lose_the_answer)
    _offer(publisher, 1)
    assert subscriber.wait(5.0).policy == "policy 1"
    assert publisher.num_outages == 1
    monkeypatch.undo()
    publisher._next_sec = 0.0
    _offer(publisher, 2)
    assert publisher.num_published == 1
    _wait_for(lambda: subscriber.newest.policy == "policy 2")
    assert _kept(local_redis) == {b"policy 2"}
    publisher.close()
    subscriber.close()


def test_subscriber_that_cannot_go_on_tells_whoever_asks(local_redis):
    """Nobody acts for ever with an old policy, unaware that no newer one will come."""

    def decode(message):
        raise ZeroDivisionError(message.decode())

    publisher = _publisher(local_redis)
    subscriber = PolicySubscriber(connect(RedisConfig(local_redis.url)), "run", decode, _CONFIG)
    _offer(publisher, 1)
    with pytest.raises(ZeroDivisionError, match="policy 1"):
        subscriber.wait(10.0)
    with pytest.raises(ZeroDivisionError, match="policy 1"):
        _ = subscriber.newest
    subscriber.close()
    publisher.close()


def test_too_large_a_policy_is_an_error(local_redis):
    """The publisher's own mistake is told to the publisher."""
    publisher = _publisher(local_redis, PublicationConfig(max_policy_bytes=10))
    with pytest.raises(ValueError, match="at most max_policy_bytes = 10 bytes, got 11"):
        _offer(publisher, 1, "x" * 11)
