"""What a measurement was taken on."""

import importlib.metadata
import os
import platform
from pathlib import Path

_PACKAGES = ("ray", "torch", "mujoco", "numpy")


def num_available_cores() -> int:
    """Returns the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_to_cores(num_cores: int) -> None:
    """Binds this process, and those it starts, to its first `num_cores` cores, where that is possible."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:num_cores])


def describe_machine() -> str:
    """Returns one line: processor, cores this process may use, Python and the packages that matter."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    cores = f"{num_available_cores()} cores"
    return ", ".join([_processor(), cores, f"Python {platform.python_version()}", *versions])


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
