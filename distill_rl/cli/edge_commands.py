"""The commands of those outside Ray: `distill-rl actor` and `distill-rl follow`."""

import contextlib
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from distill_rl.cli.messages import told_in_one_line
from distill_rl.cli.stop_request import SIGNAL_EXIT_BASE

_Redis = Annotated[
    str, typer.Option("--redis", help="rediss://user@host:6379; the password in DISTILL_RL_REDIS_PASSWORD.")
]
_Name = Annotated[str | None, typer.Option(help="Name of the run in Redis; by default distill_rl.")]
_PasswordFile = Annotated[Path | None, typer.Option(help="File that begins with the password.")]
_CaFile = Annotated[Path | None, typer.Option(help="Certificates that the server's must be signed by.")]


def actor(
    preset: Annotated[str, typer.Argument(help="The preset, or YAML file, of the training.")],
    redis: _Redis,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.key=value, as in the training.")
    ] = None,
    name: _Name = None,
    password_file: _PasswordFile = None,
    ca_file: _CaFile = None,
    seed: Annotated[int | None, typer.Option(help="Another one for each actor; by default random.")] = None,
    time_limit: Annotated[str | None, typer.Option(help="15m, 1h30m; by default until Ctrl-C.")] = None,
) -> None:
    """Searches outside Ray, for a training that takes reference sets from Redis."""
    with told_in_one_line():
        _check_redis(redis)
        from distill_rl.cli.duration import parse_duration
        from distill_rl.cli.edge_actor import run_edge_actor
        from distill_rl.cli.presets import load_preset

        settings = {"redis_url": redis, "name": name, "password_file": password_file, "ca_file": ca_file}
        sections = load_preset(preset, overrides=list(overrides or ()))
        edge = {key: str(value) for key, value in settings.items() if value is not None}
        sections["edge"] = sections.get("edge", {}) | edge
        sections["debugging"] = sections.get("debugging", {}) | {"seed": seed}
        outcome = run_edge_actor(sections, Console(), parse_duration(time_limit) if time_limit else None)
    version = "no policy" if outcome.policy_version is None else f"policy v{outcome.policy_version}"
    typer.echo(
        f"{outcome.num_env_steps} environment steps, {outcome.num_sent_sets} sets sent, "
        f"{outcome.num_dropped_sets} dropped, last {version}"
    )


def follow(
    redis: _Redis,
    name: _Name = None,
    password_file: _PasswordFile = None,
    ca_file: _CaFile = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="By default until Ctrl-C.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
) -> None:
    """Acts in the training's environment, every step with the newest policy that it has published."""
    with told_in_one_line():
        from distill_rl.cli.follow import follow as follow_training
        from distill_rl.cli.stop_request import StopRequest
        from distill_rl.policies.following import follow_policy
        from distill_rl.storage.edge_config import RedisConfig

        _check_redis(redis)
        subscriber = follow_policy(
            redis,
            name or RedisConfig.name,
            password_file=str(password_file) if password_file else None,
            ca_file=str(ca_file) if ca_file else None,
        )
        typer.echo("waiting for a policy")
        with contextlib.closing(subscriber), StopRequest() as stop:
            for episode in follow_training(
                subscriber, episodes, seed, lambda: stop.signal_number is not None
            ):
                typer.echo(
                    f"return {episode.episode_return:.1f} in {episode.num_steps} steps, "
                    f"policy v{episode.first_version} to v{episode.last_version}"
                )
    if stop.signal_number is not None:
        raise typer.Exit(SIGNAL_EXIT_BASE + stop.signal_number)


def _check_redis(url: str) -> None:
    """Checks what was typed after `--redis`.

    Raises:
      ValueError: if it is no URL of a server; what came is shown without a user or password in it.
    """
    from distill_rl.storage.edge_config import RedisConfig

    try:
        RedisConfig(redis_url=url)
        port = urlsplit(url).netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
        if port and not (port.isdecimal() and int(port) < 2**16):
            raise ValueError("its port must be a number below 65536")
    except ValueError as error:
        shown = re.sub(r"^(\w+://)?.*@|(?<=password=)[^&]*", r"\1***", url)
        raise ValueError(f"`--redis` must be the URL of a server, got {shown!r}: {error}") from error
