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
    except ValueError:
        raise
    except Exception as error:
        log_path = RunFolder(folder).failure_path
        atomic.write_text(log_path, traceback.format_exc())
        # Ray puts its own trace before the message of what an actor raised.
        cause = error.cause if isinstance(error, RayTaskError) else error
        reason = (str(cause).strip() or "no message").splitlines()[0]
        where = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        raise TrainingError(
            f"training failed: {type(cause).__name__}: {reason}{where}\n"
            f"full trace: {log_path}\nto resume: {resume_command(folder)}"
        ) from error
