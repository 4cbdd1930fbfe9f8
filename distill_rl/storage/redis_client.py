"""Connections to Redis: credentials that nobody sees, and errors that say what to do."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import Encoder, PythonRespSerializer
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from distill_rl.storage.edge_config import RedisConfig

PASSWORD_VARIABLE = "DISTILL_RL_REDIS_PASSWORD"

_LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1", None)
_CONNECT_TIMEOUT_SEC = 5.0
_ANSWER_TIMEOUT_SEC = 5.0
_COPIED_BYTES = 6_000  # an argument up to this is sent together with its neighbours

_RETRY_SEC = (0.1, 5.0)  # first and longest wait

_OUTAGES = (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError, redis.ReadOnlyError)
# No disk left; no replicas to write to; the stream went away, or the server lost its role, during a wait.
_OUTAGE_CODES = ("MISCONF", "NOREPLICAS", "UNBLOCKED")

REFUSALS = (redis.AuthenticationError, NoPermissionError)
"""What comes when a server knows the client and turns it away: waiting does not help."""

_logger = logging.getLogger(__name__)


class RedisRefusedError(ValueError):
    """Redis turned the client away: wrong credentials, or rights that its user does not have."""


class RedisUnreachableError(ConnectionError):
    """No Redis answered at the start; later outages are waited out instead."""


class Outages:
    """The outages of a server, as one client sees them: each is told of once, and waited out.

    Args:
      consequence: what the client does in the meantime, for the log.
    """

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence
        self._retry_sec = _RETRY_SEC[0]

    def note(self, error: redis.RedisError) -> float:
        """Notes that a call failed, and returns how many seconds to wait: longer after each one in a row.

        Raises:
          RedisRefusedError: if waiting does not help.
        """
        if not _is_outage(error):
            raise RedisRefusedError(f"Redis refused the client: {error}") from error
        if self._retry_sec == _RETRY_SEC[0]:
            _logger.warning("%s: %s", self._consequence, error)
        wait_sec = self._retry_sec
        self._retry_sec = min(2.0 * wait_sec, _RETRY_SEC[1])
        return wait_sec

    def end(self) -> None:
        """Notes that a call was answered."""
        self._retry_sec = _RETRY_SEC[0]


def connect(config: RedisConfig) -> redis.Redis:
    """Connects to the server and checks that it lets the client in.

    Calls are never repeated by the client itself: producers, consumers and subscribers know better what may
    be repeated and when.

    Args:
      config: with a URL.

    Raises:
      ValueError: if there is no URL, or a file cannot be read.
      RedisRefusedError: if the credentials are wrong or missing.
      RedisUnreachableError: if nobody answers, or its certificate is not trusted.
    """
    if config.redis_url is None:
        raise ValueError("`redis_url` must be set, as in rediss://user@host:6379; got None")
    parts = urlsplit(config.redis_url)
    if parts.scheme == "redis" and parts.hostname not in _LOCAL_HOSTS:
        _logger.warning("the connection to %s is not encrypted; use rediss://", parts.hostname)
    options: dict[str, Any] = {}
    password = _read_password(config)
    if password is not None:
        options["password"] = password
    if parts.scheme == "rediss" and config.ca_file is not None:
        if not Path(config.ca_file).is_file():
            raise ValueError(f"`ca_file` must name a file, got {config.ca_file}")
        options["ssl_ca_certs"] = config.ca_file
    client = redis.Redis.from_url(
        config.redis_url,
        socket_connect_timeout=_CONNECT_TIMEOUT_SEC,
        socket_timeout=_ANSWER_TIMEOUT_SEC,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        # That of hiredis, the default, copies each argument twice; this one hands large ones to the socket.
        command_packer=PythonRespSerializer(_COPIED_BYTES, Encoder("utf-8", "strict", False).encode),
        **options,
    )
    try:
        with refusals_named(config.redis_url):
            client.ping()
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise RedisUnreachableError(f"no answer from Redis at {_place(parts)}: {error}") from error
    return client


@contextmanager
def refusals_named(redis_url: str) -> Iterator[None]:
    """Turns the ways in which Redis refuses a client into one error that says how to be let in.

    Raises:
      RedisRefusedError: if the block was refused.
    """
    try:
        yield
    except REFUSALS as error:
        raise RedisRefusedError(
            f"Redis at {_place(urlsplit(redis_url))} refused the client: {error}; its user stands in the "
            f"URL, its password in {PASSWORD_VARIABLE} or `password_file`, its rights in the server's ACL"
        ) from error


def _is_outage(error: redis.RedisError) -> bool:
    """Returns whether waiting helps: the server is away, starting, or out of memory or disk."""
    if isinstance(error, REFUSALS):
        return False
    return isinstance(error, _OUTAGES) or any(code in str(error) for code in _OUTAGE_CODES)


def _read_password(config: RedisConfig) -> str | None:
    if config.password_file is None:
        return os.environ.get(PASSWORD_VARIABLE) or None
    try:
        lines = Path(config.password_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"`password_file` must be a readable text file, got {config.password_file}: {error}"
        ) from error
    if not lines or not lines[0].strip():
        raise ValueError(
            f"`password_file` must hold the password in its first line, got {config.password_file}"
        )
    return lines[0].strip()


def _place(parts: Any) -> str:
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
