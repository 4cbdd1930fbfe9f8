"""`distill-rl doctor`: what this machine has, what it lacks, and what to do about it."""

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from distill_rl.cli.machine import num_available_cores

Status = Literal["ok", "warn", "fail"]

_PACKAGES = ("distill-rl", "ray", "torch", "gymnasium", "mujoco", "dm-control", "numpy")
_IMPORT_TIMEOUT_SEC = 120.0
_MIN_FREE_BYTES = 2 * 1024**3
_REINSTALL = "reinstall: pip install -e '.[dev]' -c constraints.txt"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
      name: what was looked at.
      status: `ok`; `warn`, training works but something is missing; `fail`, it does not.
      detail: what was found.
      remedy: what to do; empty if `ok`.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Looks at everything; takes some seconds, for the imports."""
    checks: list[Callable[[], Finding]] = [
        check_python,
        check_packages,
        check_cores,
        check_gpu,
        check_mujoco,
        check_ray,
        check_redis,
        check_disk,
    ]
    return [check() for check in checks]


def check_python() -> Finding:
    """Looks at the version of Python."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding("python", "ok", version)
    return Finding("python", "fail", version, "use Python 3.11 or 3.12")


def check_packages() -> Finding:
    """Looks at the versions of the packages that matter most."""
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("packages", "fail", f"missing: {', '.join(missing)}", _REINSTALL)
    return Finding("packages", "ok", ", ".join(found))


def check_cores() -> Finding:
    """Looks at the cores this process may use, and at how busy they are."""
    num_cores, load = num_available_cores(), os.getloadavg()[0]
    detail = f"{num_cores} cores, load {load:.1f}"
    if num_cores < 2:
        return Finding("cores", "warn", detail, "search and learning share one core: set num_env_runners=0")
    if load > num_cores:
        return Finding("cores", "warn", detail, "the machine is busy: training will be slower")
    return Finding("cores", "ok", detail)


def check_gpu() -> Finding:
    """Looks for a GPU that torch can use."""
    command = "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_name(0))"
    answer = _ask_python(command)
    if answer.is_error:
        return Finding("gpu", "fail", f"torch does not import: {answer.text}", _REINSTALL)
    if answer.text == "False":
        detail = "none that torch can use"
        return Finding("gpu", "warn", detail, "not needed for the laptop size; `--size cluster` wants one")
    return Finding("gpu", "ok", answer.text)


def check_mujoco() -> Finding:
    """Looks at whether MuJoCo steps and what it would render with."""
    detail = f"MUJOCO_GL={os.environ.get('MUJOCO_GL', 'unset')}"
    answer = _ask_python("from dm_control import suite; suite.load('cartpole', 'balance').reset()")
    if answer.is_error:
        remedy = "set MUJOCO_GL=disabled: training renders nothing"
        return Finding("mujoco", "fail", f"{detail}: {answer.text}", remedy)
    return Finding("mujoco", "ok", detail)


def check_ray() -> Finding:
    """Looks at whether Ray and RLlib import; starts nothing."""
    answer = _ask_python("import ray.rllib.algorithms.algorithm")
    if answer.is_error:
        return Finding("ray", "fail", answer.text, _REINSTALL)
    address = os.environ.get("RAY_ADDRESS")
    return Finding(
        "ray", "ok", f"will join {address}" if address else "will start on this machine when needed"
    )


def check_redis() -> Finding:
    """Looks for a Redis server; only links between clusters need one."""
    path = shutil.which("redis-server")
    if path is None:
        return Finding("redis", "warn", "no redis-server on PATH", "optional: apt install redis-server")
    return Finding("redis", "ok", path)


def check_disk() -> Finding:
    """Looks at the free space where runs and Ray's temporary files go."""
    folders = {"here": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(folder).free for name, folder in folders.items()}
    detail = ", ".join(f"{size / 1024**3:.1f} GiB free {name}" for name, size in free.items())
    if min(free.values()) < _MIN_FREE_BYTES:
        return Finding("disk", "warn", detail, "make room: checkpoints need some hundred MB a run")
    return Finding("disk", "ok", detail)


@dataclasses.dataclass(frozen=True)
class _Answer:
    text: str
    is_error: bool


def _ask_python(command: str) -> _Answer:
    """Runs a command in another interpreter: an import that crashes must not take the doctor with it."""
    arguments = [sys.executable, "-W", "ignore", "-c", command]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_IMPORT_TIMEOUT_SEC)
    except subprocess.TimeoutExpired:
        return _Answer(f"no answer after {_IMPORT_TIMEOUT_SEC:.0f} s", is_error=True)
    output = done.stdout if done.returncode == 0 else done.stderr
    lines = output.strip().splitlines()
    return _Answer(lines[-1] if lines else "", is_error=done.returncode != 0)
