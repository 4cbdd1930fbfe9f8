"""Settings and fixtures of the whole suite."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")

import pytest


@pytest.fixture(scope="session")
def ray_cluster():
    """One local Ray cluster for the session."""
    import ray

    if not ray.is_initialized():
        ray.init(
            num_cpus=8,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "MUJOCO_GL": "disabled"}},
        )
    yield
    ray.shutdown()


@pytest.fixture
def local_redis(tmp_path):
    """A Redis server without persistence, on a port of its own."""
    from distill_rl.storage.local_redis import LocalRedis

    with LocalRedis(tmp_path / "redis") as server:
        yield server
