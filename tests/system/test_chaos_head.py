"""The head dies, and comes back with its state from Redis, while a run goes on."""

import sys
import time

import pytest
import redis
from chaos_run import ChaosRun
from ray_nodes import LEARNER, RUNNER, RayNodes
from redis_server import GcsRedis

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.ray]

_WORKER_IP = "127.0.0.3"
# A driver on a machine that is not the head's: here only another address tells them apart.
_DRIVER = f"""
import sys
import ray
ray.init(address="auto", _node_ip_address="{_WORKER_IP}", log_to_driver=False)
from distill_rl.cli.main import app
app()
"""
_HEAD = ("--num-cpus=0", "--include-dashboard=false")
_DOWN_SEC = 15.0


def _start(nodes, server):
    server.write_env(nodes.folder / "gcs_redis.env")
    nodes.start_head(*_HEAD)
    roles = '--resources={"actor": 2, "learner": 1, "evaluator": 1}'
    nodes.start_worker("worker", f"--node-ip-address={_WORKER_IP}", "--num-cpus=4", roles)


@pytest.mark.parametrize("killed", ["gcs_server", ""])
def test_a_run_outlives_the_head(tmp_path, killed):
    """SIGKILL of the GCS or of all the head: actors and learner keep process and state."""
    overrides = ["--size", "cluster", "env_runners.num_env_runners=2", "learners.num_gpus_per_learner=0"]
    with GcsRedis(tmp_path) as server, RayNodes() as nodes:
        _start(nodes, server)
        command = (sys.executable, "-c", _DRIVER)
        env = nodes.driver_env()
        arguments = [*overrides, "evaluation.evaluation_interval=4", "evaluation.evaluation_duration=2"]
        with ChaosRun(tmp_path / "run", *arguments, "--time-limit", "20m", command=command, env=env) as run:
            run.wait_for(lambda rows: len(rows) >= 5, "five rows")
            actors = nodes.pids("worker", RUNNER) + nodes.pids("worker", LEARNER)
            assert len(actors) == 4  # two that search, one that evaluates, one that learns
            nodes.kill("head", killed)
            time.sleep(_DOWN_SEC)
            if killed:
                nodes.kill("head")  # as `ray stop` does before a start
            before = run.rows[-1]
            nodes.start_head(*_HEAD)
            run.wait_for_more_rows(10)
            after = run.rows[-1]
            assert nodes.pids("worker", RUNNER) + nodes.pids("worker", LEARNER) == actors
        assert after["updates"] > before["updates"]
        assert after["env_steps"] > before["env_steps"]
        assert after["restarts"] == after["learner_restarts"] == after["store_restarts"] == 0
        assert after["lost"] == after["duplicates"] == 0
        assert server.client().acl_log() == []  # the users' file allows all that Ray does


def test_redis_refuses_strangers(tmp_path):
    """No password, a wrong one, and what Ray's own user may not do."""
    with GcsRedis(tmp_path) as server:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port).ping()
        with pytest.raises(redis.AuthenticationError):
            server.client("ray", "0" * 64).ping()
        ray_user = server.client("ray", server.password)
        assert ray_user.hset("RAYns@KV", "key", "value") == 1
        for forbidden in (
            lambda: ray_user.set("other", "value"),
            lambda: ray_user.flushall(),
            lambda: ray_user.config_get("*"),
            lambda: ray_user.eval("return 1", 0),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()
        assert server.password not in (tmp_path / "users.acl").read_text()
