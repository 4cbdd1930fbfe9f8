"""The shipped configuration and access list: everybody can do their work, and nothing else."""

import subprocess
import time
from pathlib import Path

import pytest
import redis
from edge_samples import make_collected

from distill_rl.storage.edge_config import EdgeKeys, PublicationConfig, RedisConfig, StreamConfig
from distill_rl.storage.local_redis import LocalRedis, find_redis_server
from distill_rl.storage.policy_publisher import PolicyPublisher
from distill_rl.storage.policy_subscriber import PolicySubscriber
from distill_rl.storage.redis_client import (
    PASSWORD_VARIABLE,
    RedisRefusedError,
    RedisUnreachableError,
    connect,
)
from distill_rl.storage.reference_consumer import ReferenceConsumer
from distill_rl.storage.reference_producer import ReferenceProducer

_FILES = Path(__file__).parents[2] / "cluster" / "redis"
_USERS = ("trainer", "actor", "robot")
_KEYS = EdgeKeys.of("run")
_STREAM = StreamConfig(batch_bytes=1, claim_idle_sec=0.1)
_PUBLICATION = PublicationConfig(publish_interval_sec=0.0)


def _settings() -> dict[str, str]:
    """Returns the lines of the shipped configuration."""
    lines = (_FILES / "edge.conf").read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return {name: value for name, value in pairs}


@pytest.fixture
def secrets(tmp_path) -> Path:
    """A folder with a password of each user, and the access list that the shipped script makes of them."""
    passwords = {user: f"{user}-".ljust(40, "x") for user in _USERS}
    for user, password in passwords.items():
        (tmp_path / user).write_text(password + "\n")
    typed = "".join(f"{passwords[user]}\n" for user in _USERS)
    made = subprocess.run(
        ["sh", str(_FILES / "make_edge_acl.sh"), "run"],
        input=typed,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not any(password in made.stdout for password in passwords.values())
    (tmp_path / "edge.acl").write_text(made.stdout)
    return tmp_path


@pytest.fixture
def server(secrets):
    """A server with the shipped configuration, apart from TLS."""
    without_tls = {name: value for name, value in _settings().items() if "tls" not in name and name != "port"}
    own = {"bind": "127.0.0.1", "aclfile": str(secrets / "edge.acl"), "dir": str(secrets)}
    with LocalRedis(secrets, without_tls | own) as running:
        yield running


def _connect(server, secrets, user) -> redis.Redis:
    url = f"redis://{user}@127.0.0.1:{server.port}"
    return connect(RedisConfig(url, "run", password_file=str(secrets / user)))


def test_everybody_can_do_their_work(server, secrets):
    """Sets go from an actor to a trainer, policies from the trainer to actor and robot."""
    producer = ReferenceProducer(_connect(server, secrets, "actor"), "run", _STREAM)
    consumer = ReferenceConsumer(_connect(server, secrets, "trainer"), "run", _STREAM)
    publisher = PolicyPublisher(_connect(server, secrets, "trainer"), "run", _PUBLICATION)
    subscribers = [
        PolicySubscriber(_connect(server, secrets, user), "run", bytes.decode, _PUBLICATION)
        for user in ("actor", "robot")
    ]
    producer.put(make_collected(2))
    assert producer.flush(5.0)
    consumer.acknowledge(consumer.read(4, 2.0))
    assert consumer.statistics.num_acknowledged == 1
    trainer = _connect(server, secrets, "trainer")
    trainer.xadd(_KEYS.references, {"m": b"junk"})
    assert consumer.read(4, 2.0) == []
    assert consumer.statistics.num_dead_letters == 1
    producer.put(make_collected(2))
    assert len(consumer.read(4, 2.0)) == 1
    time.sleep(2.0 * _STREAM.claim_idle_sec)
    successor = ReferenceConsumer(_connect(server, secrets, "trainer"), "run", _STREAM)
    successor.acknowledge(successor.read(4))
    assert successor.statistics.num_claimed == successor.statistics.num_acknowledged == 1
    publisher.offer(1, lambda: b"policy 1")
    for subscriber in subscribers:
        assert subscriber.wait(5.0).policy == "policy 1"
    for party in (producer, publisher, *subscribers):
        party.close()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("robot", ["XADD", _KEYS.references, "*", "m", "x"]),
        ("robot", ["SET", _KEYS.newest_policy, "x"]),
        ("robot", ["PUBLISH", _KEYS.notices, "x"]),
        ("robot", ["GET", "other:policy:newest"]),
        ("actor", ["SET", _KEYS.newest_policy, "x"]),
        ("actor", ["PUBLISH", _KEYS.notices, "x"]),
        ("actor", ["XRANGE", _KEYS.references, "-", "+"]),
        ("actor", ["XADD", "other:references", "*", "m", "x"]),
        ("trainer", ["SET", "other:policy:newest", "x"]),
        *[
            (user, command)
            for user in _USERS
            for command in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"])
        ],
        *[(user, ["EVAL", "return 1", "0"]) for user in _USERS],
    ],
)
def test_nobody_can_do_more(server, secrets, user, command):
    """Commands, keys and channels beyond a user's work are refused."""
    with pytest.raises(redis.exceptions.NoPermissionError):
        _connect(server, secrets, user).execute_command(*command)


def test_strangers_are_refused(server, secrets, monkeypatch):
    """Without credentials, with a wrong password and as the default user nobody gets in."""
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    (secrets / "wrong").write_text("x" * 40)
    for url, password in (
        (server.url, None),
        (f"redis://actor@127.0.0.1:{server.port}", "wrong"),
        (f"redis://default@127.0.0.1:{server.port}", "actor"),
    ):
        file = None if password is None else str(secrets / password)
        with pytest.raises(RedisRefusedError, match="refused the client"):
            connect(RedisConfig(url, "run", password_file=file))


def test_wrong_rights_stop_producer_consumer_and_publisher(server, secrets):
    """A user with the rights of another part is told so, instead of trying for ever."""
    producer = ReferenceProducer(_connect(server, secrets, "robot"), "run", _STREAM)
    producer.put(make_collected(2))
    producer.flush(5.0)
    with pytest.raises(RedisRefusedError, match="refused the client"):
        producer.put(make_collected(2))
    producer.close(0.1)
    consumer = ReferenceConsumer(_connect(server, secrets, "actor"), "run", _STREAM)
    with pytest.raises(RedisRefusedError, match="refused the client"):
        consumer.read(4)
    publisher = PolicyPublisher(_connect(server, secrets, "actor"), "run", _PUBLICATION)
    with pytest.raises(RedisRefusedError, match="Redis refused the client"):
        publisher.offer(1, lambda: b"policy")
    other = PolicySubscriber(_connect(server, secrets, "robot"), "other", bytes.decode, _PUBLICATION)
    with pytest.raises(RedisRefusedError, match="refused the client"):
        other.wait(5.0)
    other.close()


def test_tls_is_required_and_checked(secrets):
    """With the shipped configuration as it is only TLS is spoken, and certificates are verified."""
    program = "/usr/bin/redis-server" if Path("/usr/bin/redis-server").exists() else find_redis_server()
    if "libssl" not in subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout:
        pytest.skip("this redis-server was built without TLS")
    _make_certificates(secrets)
    own = {
        "bind": "127.0.0.1",
        "aclfile": str(secrets / "edge.acl"),
        "dir": str(secrets),
        "tls-cert-file": str(secrets / "redis.crt"),
        "tls-key-file": str(secrets / "redis.key"),
        "tls-ca-cert-file": str(secrets / "ca.crt"),
    }
    server = LocalRedis(secrets, _settings() | own, program)
    server_settings = server._settings | {"tls-port": str(server.port), "port": "0"}
    server._settings = server_settings
    with server:
        place, file = f"actor@localhost:{server.port}", str(secrets / "actor")
        good = RedisConfig(f"rediss://{place}", "run", password_file=file, ca_file=str(secrets / "ca.crt"))
        assert connect(good).ping()
        with pytest.raises(RedisUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            connect(RedisConfig(f"rediss://{place}", "run", password_file=file))
        with pytest.raises(RedisUnreachableError):
            connect(RedisConfig(f"redis://{place}", "run", password_file=file))


def _make_certificates(folder: Path) -> None:
    """Makes a certificate authority, and a certificate of `localhost` that it signs."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")
    openssl("req", *new_key, "-keyout", "redis.key", "-out", "redis.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "redis.csr", "-out", "redis.crt", *signing)
