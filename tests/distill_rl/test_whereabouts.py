"""Where a process runs and writes."""

import os
import platform
import subprocess
import sys

from distill_rl.whereabouts import describe_process


def test_it_names_host_and_process():
    """Of the caller."""
    assert describe_process().startswith(f"host {platform.node()}, pid {os.getpid()}")


def test_it_names_the_file_of_errors(tmp_path):
    """Where standard error goes to a file; a terminal or a pipe is no log."""
    log = tmp_path / "worker.err"
    command = [sys.executable, "-c", "from distill_rl.whereabouts import *; print(describe_process())"]
    with open(log, "w") as errors:
        output = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, check=True).stdout
    assert output.strip().endswith(f", log {log}")
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "log" not in output
