"""How commands tell what went wrong."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Prints mistakes and failures of a run as their message; anything else is a bug and keeps its trace."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        yield
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except Exception as error:
        # Here and not above: they bring Ray, for which a mistyped name should not have to wait.
        from distill_rl.cli.failure import TrainingError
        from distill_rl.storage.checkpoints import CheckpointError
        from distill_rl.storage.redis_client import RedisUnreachableError

        if not isinstance(error, (CheckpointError, TrainingError, RedisUnreachableError)):
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, CheckpointError) else 1) from error
