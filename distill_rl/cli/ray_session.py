"""Ray for a command: joined where it is there, else started here and stopped again."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

import ray

_WORKER_ENV_VARS = ("MUJOCO_GL", "OMP_NUM_THREADS")


def start_ray(num_cpus: int | None = None) -> None:
    """Starts Ray on this machine, for this process and those it makes; quiet, without a dashboard.

    Args:
      num_cpus: cores that Ray shares out; None for those of the machine.
    """
    env_vars = {name: os.environ[name] for name in _WORKER_ENV_VARS if name in os.environ}
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(
        num_cpus=num_cpus,
        runtime_env={"env_vars": env_vars},
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )


@contextlib.contextmanager
def ray_session(start_fn: Callable[[], None] = start_ray) -> Iterator[None]:
    """Starts Ray if it is not there, and stops what it started.

    RLlib needs it even where there is only one process, and would otherwise start it with a dashboard.

    Args:
      start_fn: starts it.
    """
    if ray.is_initialized():
        yield
        return
    start_fn()
    try:
        yield
    finally:
        ray.shutdown()
