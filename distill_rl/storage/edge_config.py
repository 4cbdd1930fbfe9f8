"""Settings of the Redis edge: the section `edge` of a configuration."""

import dataclasses
import re
from urllib.parse import parse_qs, urlsplit

from distill_rl.checks import check_at_least_one, check_positive

_SCHEMES = ("rediss", "redis", "unix")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclasses.dataclass(frozen=True)
class RedisConfig:
    """Which Redis server, and under which name there.

    The password comes from `password_file`, or from the environment variable `DISTILL_RL_REDIS_PASSWORD`; a
    URL with a password is refused, since URLs end up in command lines, logs and run folders.

    Attributes:
      redis_url: `rediss://user@host:6379` with TLS; `redis://` without, for a trusted network;
        `unix:///path`. Of options only `?db=`: none may switch the check of certificates off. None for no
        Redis at all.
      name: of the run; all keys and the channel begin with it.
      password_file: file whose first line is the password.
      ca_file: certificates that the server's must be signed by; None for those of the system.
    """

    redis_url: str | None = None
    name: str = "distill_rl"
    password_file: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Checks URL and name.

        Raises:
          ValueError: naming the field, what was expected and what came.
        """
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"`name` must be 1 to 100 letters, digits, dots, dashes or underscores, got {self.name!r}"
            )
        if self.redis_url is None:
            return
        parts = urlsplit(self.redis_url)
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"`redis_url` must begin with {', '.join(s + '://' for s in _SCHEMES)}")
        if parts.password is not None or "password=" in parts.query:
            raise ValueError(
                "`redis_url` must hold no password, which command lines and logs would show; set "
                "DISTILL_RL_REDIS_PASSWORD or `password_file`"
            )
        options = parse_qs(parts.query, keep_blank_values=True).keys() - {"db"}
        if options:
            raise ValueError(
                f"`redis_url` may choose no more than `?db=`, got {', '.join(sorted(options))}: certificates "
                "are always checked, with `ca_file` against your own"
            )


@dataclasses.dataclass(frozen=True)
class StreamConfig:
    """How reference sets travel from actors outside Ray.

    Attributes:
      batch_bytes: an actor sends its sets when they have this size.
      max_delay_sec: or when the oldest of them has waited this long.
      max_outstanding: messages that may wait in Redis, and in the learner until it acknowledges them; beyond,
        actors wait.
      max_buffered_batches: batches that an actor keeps while it waits or while Redis is away; beyond, it
        searches no further.
      max_block_sec: how long a full buffer holds an actor up before its sets are dropped, and counted; None
        for as long as it takes.
      max_message_bytes: a larger message is refused, on both sides.
      claim_idle_sec: messages that a dead consumer left are taken over after this long.
      max_deliveries: a message that was handed out more often than this becomes a dead letter.
      max_dead_letters: of them, the newest are kept, for a person to look at.
    """

    batch_bytes: int = 256 * 1024
    max_delay_sec: float = 1.0
    max_outstanding: int = 128
    max_buffered_batches: int = 64
    max_block_sec: float | None = None
    max_message_bytes: int = 16 * 2**20
    claim_idle_sec: float = 60.0
    max_deliveries: int = 5
    max_dead_letters: int = 1_000

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
          ValueError: naming the field, what was expected and what came.
        """
        for name in (
            "batch_bytes",
            "max_outstanding",
            "max_buffered_batches",
            "max_message_bytes",
            "max_deliveries",
            "max_dead_letters",
        ):
            check_at_least_one(name, getattr(self, name))
        for name in ("max_delay_sec", "claim_idle_sec"):
            check_positive(name, getattr(self, name))
        if self.max_block_sec is not None and not self.max_block_sec >= 0.0:
            raise ValueError(f"`max_block_sec` must not be negative, got {self.max_block_sec}")


@dataclasses.dataclass(frozen=True)
class PublicationConfig:
    """How policies travel to actors and robots outside Ray.

    Attributes:
      publish_interval_sec: shortest time between two publications; the newest policy is never left out.
      num_kept_policies: of the published policies, the newest are kept in Redis.
      poll_interval_sec: how often subscribers look for a newer policy even without a notice.
      max_policy_bytes: a larger policy is refused, on both sides.
    """

    publish_interval_sec: float = 1.0
    num_kept_policies: int = 3
    poll_interval_sec: float = 5.0
    max_policy_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
          ValueError: naming the field, what was expected and what came.
        """
        check_at_least_one("num_kept_policies", self.num_kept_policies)
        check_at_least_one("max_policy_bytes", self.max_policy_bytes)
        check_positive("poll_interval_sec", self.poll_interval_sec)
        if not self.publish_interval_sec >= 0.0:
            raise ValueError(f"`publish_interval_sec` must not be negative, got {self.publish_interval_sec}")


@dataclasses.dataclass(frozen=True)
class EdgeKeys:
    """Names of the keys and of the channel in Redis.

    Attributes:
      references: stream of reference sets.
      dead_letters: stream of the messages that were refused.
      policies: what keys of policies begin with.
      newest_policy: id of the newest publication.
      kept_policies: list of the ids of those that are kept, newest first.
      notices: channel that tells of publications.
    """

    references: str
    dead_letters: str
    policies: str
    newest_policy: str
    kept_policies: str
    notices: str

    @staticmethod
    def of(name: str) -> "EdgeKeys":
        """Returns the keys of a run."""
        return EdgeKeys(
            references=f"{name}:references",
            dead_letters=f"{name}:references:dead",
            policies=f"{name}:policy:",
            newest_policy=f"{name}:policy:newest",
            kept_policies=f"{name}:policy:kept",
            notices=f"{name}:policy",
        )
