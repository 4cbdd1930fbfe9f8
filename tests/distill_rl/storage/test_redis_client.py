"""Who is let in, who is turned away, and what nobody may see."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import redis
from redis.exceptions import NoPermissionError

from distill_rl.storage.edge_config import PublicationConfig, RedisConfig, StreamConfig
from distill_rl.storage.local_redis import LocalRedis
from distill_rl.storage.redis_client import (
    PASSWORD_VARIABLE,
    Outages,
    RedisRefusedError,
    RedisUnreachableError,
    connect,
)

_PASSWORD = "a-long-secret-4711"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"redis_url": "http://host"}, "`redis_url` must begin with rediss://"),
        ({"redis_url": f"rediss://user:{_PASSWORD}@host"}, "`redis_url` must hold no password"),
        ({"redis_url": f"unix:///run/redis.sock?password={_PASSWORD}"}, "`redis_url` must hold no password"),
        (
            {"redis_url": "rediss://host?ssl_cert_reqs=none&db=1"},
            r"no more than `\?db=`, got ssl_cert_reqs: certif",
        ),
        ({"redis_url": "rediss://host?ssl%5Fcheck_hostname=False"}, "got ssl_check_hostname"),
        ({"redis_url": "rediss://host?ssl_cert_reqs"}, "got ssl_cert_reqs"),
        ({"name": "a:b"}, "`name` must be 1 to 100 letters"),
    ],
)
def test_settings_are_checked(settings, expected):
    """A mistake is named, and a password in a URL is refused without being repeated."""
    with pytest.raises(ValueError, match=expected) as raised:
        RedisConfig(**settings)
    assert _PASSWORD not in str(raised.value)


def test_a_url_may_choose_a_database():
    """The one option that it may have."""
    assert RedisConfig("rediss://user@host:6379?db=2").redis_url == "rediss://user@host:6379?db=2"


def test_other_settings_are_checked():
    """Sizes and waits must be positive."""
    with pytest.raises(ValueError, match="`max_outstanding` must be an integer of at least 1, got 0"):
        StreamConfig(max_outstanding=0)
    with pytest.raises(ValueError, match="`num_kept_policies` must be an integer of at least 1, got 0"):
        PublicationConfig(num_kept_policies=0)
    with pytest.raises(ValueError, match="`max_block_sec` must not be negative, got nan"):
        StreamConfig(max_block_sec=float("nan"))
    with pytest.raises(ValueError, match="`publish_interval_sec` must not be negative, got -1"):
        PublicationConfig(publish_interval_sec=-1.0)


def test_client_needs_the_password(tmp_path, monkeypatch, caplog):
    """Without and with a wrong password a client is refused; the right one comes from variable or file."""
    file = tmp_path / "password"
    file.write_text(_PASSWORD + "\n")
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    with LocalRedis(tmp_path / "redis", {"requirepass": _PASSWORD}) as server, caplog.at_level(logging.DEBUG):
        with pytest.raises(RedisRefusedError, match=f"Redis at 127.0.0.1:{server.port} refused the client"):
            connect(RedisConfig(server.url))
        monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
        with pytest.raises(RedisRefusedError, match="its password in DISTILL_RL_REDIS_PASSWORD"):
            connect(RedisConfig(server.url))
        assert connect(RedisConfig(server.url, password_file=str(file))).ping()
        monkeypatch.setenv(PASSWORD_VARIABLE, _PASSWORD)
        assert connect(RedisConfig(server.url)).ping()
        processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert _PASSWORD not in processes
    assert _PASSWORD not in caplog.text
    assert _PASSWORD not in repr(RedisConfig(server.url, password_file=str(file)))


@pytest.mark.parametrize("num_bytes", [0, 1, 5_999, 6_000, 6_001, 2**20])
@pytest.mark.parametrize("is_transaction", [False, True])
def test_arguments_arrive_whole(local_redis, num_bytes, is_transaction):
    """What is sent, alone or in a pipeline, is what is stored, whatever its size and the sizes beside it."""
    content = np.random.default_rng(0).bytes(num_bytes)
    client = connect(RedisConfig(local_redis.url))
    client.set("alone", content)
    pipeline = client.pipeline(transaction=is_transaction)
    pipeline.set("first", content).set("né", 7).xadd("stream", {b"m": content, "text": "é"})
    pipeline.set("last", memoryview(content))
    assert all(pipeline.execute())
    assert client.mget("alone", "first", "né", "last") == [content, content, b"7", content]
    [(_, fields)] = client.xrange("stream")
    assert fields == {b"m": content, b"text": "é".encode()}
    client.close()


def test_nobody_there_is_told(tmp_path):
    """A server that does not answer and a missing URL or file are named."""
    server = LocalRedis(tmp_path)
    with pytest.raises(RedisUnreachableError, match=f"no answer from Redis at 127.0.0.1:{server.port}"):
        connect(RedisConfig(server.url))
    with pytest.raises(ValueError, match="`redis_url` must be set"):
        connect(RedisConfig())
    with pytest.raises(ValueError, match="`password_file` must be a readable text file"):
        connect(RedisConfig(server.url, password_file=str(tmp_path / "nothing")))


def test_server_that_cannot_start_tells_why(tmp_path):
    """A wrong setting of a local server is shown as the server tells it."""
    with pytest.raises(RuntimeError, match="redis-server did not start"):
        LocalRedis(tmp_path, {"no-such-setting": "1"}).start()


def test_outages_are_told_once_and_waited_out(caplog):
    """Longer after each failure in a row; an answer ends the row."""
    outages, error = Outages("no policies"), redis.ConnectionError("gone")
    assert [outages.note(error) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert caplog.messages == ["no policies: gone"]
    outages.end()
    assert outages.note(error) == 0.1
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    "error",
    [
        redis.TimeoutError("slow"),
        redis.exceptions.BusyLoadingError("starts"),
        redis.OutOfMemoryError("full"),
        redis.ReadOnlyError("a replica"),
        redis.ResponseError("Command # 1 of pipeline caused error: MISCONF no disk"),
        redis.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
    ],
)
def test_what_may_pass_is_waited_out(error):
    """A server that comes back, gets room, or is succeeded by another."""
    assert Outages("").note(error) > 0.0


@pytest.mark.parametrize(
    "error",
    [redis.AuthenticationError("wrong"), NoPermissionError("no right"), redis.ResponseError("WRONGTYPE")],
)
def test_what_does_not_pass_is_an_error(error):
    """Waiting would not help."""
    with pytest.raises(RedisRefusedError, match="Redis refused the client"):
        Outages("").note(error)


def test_pure_parts_do_not_need_redis():
    """Wire format and ledger import no Redis client."""
    code = "import sys, distill_rl.storage.reference_wire; sys.exit('redis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
