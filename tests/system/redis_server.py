"""A Redis server with the files of `cluster/redis/`, on a port and in a folder of its own."""

import secrets
import subprocess
from pathlib import Path

import redis
from ray_nodes import CHECKOUT, free_port, wait_until

from distill_rl.storage.local_redis import find_redis_server

_FILES = CHECKOUT / "cluster" / "redis"


class GcsRedis:
    """Runs `cluster/redis/gcs.conf`, with the users of `make_acl.sh`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.password = secrets.token_hex(32)
        make_acl = [str(_FILES / "make_acl.sh")]
        users = subprocess.run(
            make_acl, input=self.password + "\n", capture_output=True, text=True, check=True
        )
        # Beside the shipped users one who may read the log of refusals.
        (self.folder / "users.acl").write_text(users.stdout + "user auditor on nopass ~* +@all\n")
        self._config = (_FILES / "gcs.conf").read_text()
        for old, new in (
            ("bind 0.0.0.0", "bind 127.0.0.1"),
            ("port 6380", f"port {self.port}"),
            ("/var/lib/redis", str(self.folder)),
            ("/etc/redis/users.acl", str(self.folder / "users.acl")),
        ):
            assert old in self._config
            self._config = self._config.replace(old, new)
        self._process = None

    def __enter__(self):
        """Starts the server."""
        program = find_redis_server()
        with open(self.folder / "redis.log", "a") as log:
            self._process = subprocess.Popen([program, "-"], stdin=subprocess.PIPE, stdout=log, stderr=log)
        self._process.stdin.write(self._config.encode())
        self._process.stdin.close()
        wait_until(self._answers, 10, "Redis did not start")
        return self

    def __exit__(self, kind, error, trace):
        """Kills the server."""
        self._process.kill()
        self._process.wait()

    def client(self, username="auditor", password=""):
        """Returns a client of a user."""
        return redis.Redis(port=self.port, username=username, password=password, decode_responses=True)

    def write_env(self, path):
        """Writes what `cluster/start_head.sh` reads, for its owner only."""
        lines = (
            f"RAY_REDIS_ADDRESS=127.0.0.1:{self.port}",
            "REDIS_USERNAME=ray",
            f"REDIS_PASSWORD={self.password}",
        )
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")

    def _answers(self):
        try:
            return self.client().ping()
        except redis.ConnectionError:
            return False
