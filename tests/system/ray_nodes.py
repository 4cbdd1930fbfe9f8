"""Ray nodes on this machine: processes of `ray start`, killed one by one."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).parents[2]
RUNNER, LEARNER = "ray::SearchEnvRunner", "ray::_WrappedExecutable"
"""Titles of processes."""

_OBJECT_STORE_BYTES = 100_000_000
_NUM_TRIES = 3  # Ray gives a node 30 s to start, which a busy machine may exceed


def free_port():
    """Returns a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(is_done, timeout_sec, message):
    """Waits until `is_done()` is true, and returns what it returned.

    Raises:
      TimeoutError: with `message`.
    """
    deadline = time.monotonic() + timeout_sec
    while time.monotonic() < deadline:
        result = is_done()
        if result:
            return result
        time.sleep(0.2)
    raise TimeoutError(f"{message} for {timeout_sec} s")


class RayNodes:
    """A cluster of nodes on this machine, in a folder, on ports and with a token of its own.

    Attributes:
      env: what drivers and nodes have in their environment.
    """

    def __init__(self, **env):
        # Not below pytest's folders: the path of a Unix socket has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="nodes", dir="/tmp"))
        self.port = free_port()
        token = self.folder / "auth_token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_TMPDIR": str(self.folder),
            "RAY_PORT": str(self.port),
            "GCS_REDIS_ENV": str(self.folder / "gcs_redis.env"),
            "OMP_NUM_THREADS": "1",
            "MUJOCO_GL": "disabled",
            **env,
        }

    def __enter__(self):
        """Returns the nodes."""
        return self

    def __exit__(self, kind, error, trace):
        """Kills every node and removes the folder."""
        self.kill("")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self):
        """The address that drivers connect to."""
        return f"127.0.0.1:{self.port}"

    def driver_env(self, **env):
        """Returns the environment of a driver."""
        return self.env | {"RAY_ADDRESS": self.address} | env

    def start_head(self, *options, **env):
        """Starts the head by `cluster/start_head.sh`, or starts it again.

        Several nodes share this machine, so the note of the address that a former head left is removed first.
        """
        (self.folder / "head" / "ray_current_cluster").unlink(missing_ok=True)
        self._start("head", str(CHECKOUT / "cluster" / "start_head.sh"), *options, env=env)

    def start_worker(self, name, *options, **env):
        """Starts a node that joins the head."""
        self._start(name, "ray", "start", f"--address={self.address}", *options, env=env)

    def pids(self, name, program=""):
        """Returns the processes of a node, or of all if it has no name, workers included.

        With a program, only those whose command line names it.
        """
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                arguments = " ".join(process.cmdline())
                is_member = f"{self.folder / name}/" in arguments.replace(" ", "/ ")
                # Ray's server of clients knows no folder.
                if is_member or (not name and f":{self.port} " in arguments):
                    for member in (process, *process.children(recursive=True)):
                        found[member.pid] = " ".join(member.cmdline())
        return sorted(pid for pid, arguments in found.items() if program in arguments)

    def alive_resources(self):
        """Returns what the nodes that live, but for the head, offer together."""
        code = (
            "import collections, json, ray;"
            "ray.init(address='auto', log_to_driver=False, logging_level='ERROR');"
            "nodes = [n['Resources'] for n in ray.nodes() if n['Alive']];"
            "nodes = [n for n in nodes if 'node:__internal_head__' not in n];"
            "print(json.dumps(sum(map(collections.Counter, nodes), collections.Counter())))"
        )
        output = subprocess.check_output([sys.executable, "-c", code], env=self.driver_env(), text=True)
        return json.loads(output.splitlines()[-1])

    def kill(self, name, program=""):
        """Kills the processes of a node, or those of one program on it, with SIGKILL."""
        pids = self.pids(name, program)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not set(pids) & set(self.pids(name)), 10, f"{name} did not die")

    def _start(self, name, *command, env):
        for _ in range(_NUM_TRIES):
            done = subprocess.run(
                [
                    *command,
                    f"--temp-dir={self.folder / name}",
                    f"--object-store-memory={_OBJECT_STORE_BYTES}",
                    f"--dashboard-agent-listen-port={free_port()}",
                    "--min-worker-port=0",
                    "--max-worker-port=0",
                ],
                env=self.env | env,
                capture_output=True,
                text=True,
                timeout=120,
            )
            if done.returncode == 0:
                return
            self.kill(name)
            if "timed out during startup" not in done.stderr:
                break
        raise RuntimeError(f"{name} did not start:\n{done.stdout}\n{done.stderr}")
