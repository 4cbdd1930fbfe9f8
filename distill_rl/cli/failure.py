"""What a run that fails says: which part, where the full trace is, and how to go on."""

import shlex
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ray.exceptions import RayTaskError

from distill_rl.storage import atomic
from distill_rl.storage.run_folder import RunFolder

Result = TypeVar("Result")


class TrainingError(RuntimeError):
    """A run failed; the message names the part that did, the log and how to go on."""


def resume_command(folder: str | Path) -> str:
    """Returns the command line that goes on with a run."""
    return shlex.join(["distill-rl", "train", "--resume", "--out", str(folder)])


def supervised(step_fn: Callable[[], Result], folder: Path) -> Result:
    """Calls a step of a run; what it raises goes to the folder's log of failures.

    Args:
      step_fn: the step.
      folder: run folder.

    Raises:
      ValueError: as `step_fn` raised it, since it tells a mistake of the caller in one line.
      TrainingError: for any other error.
    """
    try:
        return step_fn()
    except ValueError as error:
        # Ray puts its own trace before the message of what an actor raised.
        if isinstance(error, RayTaskError):
            raise error.cause from error
        raise
    except Exception as error:
        log_path = RunFolder(folder).failure_path
        trace = traceback.format_exc()
        try:
            atomic.write_text(log_path, trace)
            trace_at = f"full trace: {log_path}"
        except OSError as log_error:  # a full disk, which may be why the run failed
            trace_at = f"full trace, since {log_path.name} cannot be written ({log_error}):\n{trace.rstrip()}"
        cause = error.cause if isinstance(error, RayTaskError) else error
        reason = (str(cause).strip() or "no message").splitlines()[0]
        where = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        raise TrainingError(
            f"training failed: {type(cause).__name__}: {reason}{where}\n"
            f"{trace_at}\nto resume: {resume_command(folder)}"
        ) from error
