"""Measures what each part of the loop takes, for `scaling_model.py`, and real runs to check the model by.

Service times are cpu-seconds of one thread on cheetah-run, for a fragment of 16 environments and 4 steps. The
real runs have 1, 2 and 4 env runners and a learner in the driver's process, with the defaults of the preset.
Before and after each, processes that only spin measure how many cores others leave us. Writes one JSON file,
and prints the runs.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")

import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import torch
from measuring import parse_arguments, report

from actors.operators.config import ActingConfig
from actors.policy_runner import make_config_env
from actors.search_actor import SearchActor
from distill_rl.algorithms.distill import Distill
from distill_rl.algorithms.weight_store import WeightStore
from distill_rl.cli.machine import describe_machine
from distill_rl.cli.presets import load_preset
from distill_rl.cli.sections import build_config
from distill_rl.collected import Collected
from distill_rl.policies.search_policy import make_search_policy
from distill_rl.storage import atomic
from distill_rl.storage.edge_config import RedisConfig
from distill_rl.storage.local_redis import LocalRedis
from distill_rl.storage.redis_client import connect
from distill_rl.storage.reference_wire import ReferenceBatch, decode_batch, encode_batch, payload_bytes
from learners.config import DistillationConfig
from learners.distiller import Distiller
from learners.replay import ReferenceReplay

_COLUMNS = {
    "num_env_runners": "env runners",
    "num_cores": "free cores",
    "sets_per_sec": "reference sets per second",
    "updates_per_sec": "updates per second",
    "lag_updates": "policy lag, updates",
}
_MAX_BYTES = 2**26
_PENDING_REQUESTS = 400
_SPIN = """
import sys, time
start = time.monotonic()
while time.monotonic() - start < float(sys.argv[1]):
    pass
print(time.process_time() / (time.monotonic() - start))
"""


def main() -> None:
    """Measures all and writes the file."""
    arguments = parse_arguments(
        __doc__,
        preset="cheetah_run",
        operators=("root_bandit", "gumbel_muzero", "mppi", "cem"),
        num_env_runners=(1, 2, 4),
        num_fragments=8,
        num_updates=64,
        num_calls=300,
        window_sec=30.0,
    )
    if arguments.json is None:
        raise SystemExit("`--json FILE` must name the file to write")
    torch.set_num_threads(1)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    searches, collected = _measure_searches(arguments)
    learner = _measure_learner(arguments, collected)
    common = _measure_stream(collected, arguments.num_calls)
    _start_ray(max(arguments.num_env_runners) + 2)
    common |= _measure_ray(arguments, collected)
    runs = [_run(number, arguments) for number in arguments.num_env_runners]
    ray.shutdown()
    # What decides is measured again after the runs: shared machines are not equally fast at all times.
    for name, later in _measure_searches(arguments)[0].items():
        searches[name]["search_sec"] += later["search_sec"]
    later_learner = _measure_learner(arguments, collected)
    common |= {name: 0.5 * (learner[name] + later_learner[name]) for name in learner}
    result = {
        "machine": describe_machine(),
        "operators": {name: {**common, **own} for name, own in searches.items()},
        "runs": runs,
        "preset": arguments.preset,
    }
    atomic.write_text(arguments.json, json.dumps(result, indent=1) + "\n")
    report(runs, _COLUMNS, None)


def _config(preset: str, *overrides: str) -> Any:
    config, _ = build_config(load_preset(preset, overrides=overrides))
    return config


def _measure_searches(arguments: Any) -> tuple[dict[str, dict[str, Any]], Collected]:
    """Returns times of fragments by operator, and a fragment of the first one."""
    results, example = {}, None
    for name in arguments.operators:
        config = _config(arguments.preset, f"search.operator={name}", "search.num_simulator_threads=1")
        envs = [make_config_env(config) for _ in range(config.num_envs_per_env_runner)]
        networks = config.make_module(envs[0]).networks
        operator = config.make_operator(envs[0], networks)
        actor = SearchActor(envs, operator.simulator, operator, config.part(ActingConfig), seed=0)
        policy = make_search_policy(networks)
        seconds, collected = [], actor.collect(policy, config.rollout_fragment_length)
        for _ in range(arguments.num_fragments):
            start = time.process_time()
            collected = actor.collect(policy, config.rollout_fragment_length)
            seconds.append(time.process_time() - start)
        example = example or collected
        results[name] = {
            "search_sec": seconds,
            "num_sets": collected.num_env_steps,
            "fragment_bytes": payload_bytes([collected]),
        }
        for env in envs:
            env.close()
    assert example is not None
    return results, example


def _cpu_sec(function: Callable[[], Any], num_calls: int) -> float:
    """Returns cpu-seconds of one call."""
    function()
    start = time.process_time()
    for _ in range(num_calls):
        function()
    return (time.process_time() - start) / num_calls


def _measure_learner(arguments: Any, collected: Collected) -> dict[str, float]:
    config = _config(arguments.preset).part(DistillationConfig)
    reference_set = collected.reference_set
    replay = ReferenceReplay(config.replay_capacity)
    add_sec = _cpu_sec(lambda: replay.add(reference_set), 50)
    distiller = Distiller(
        reference_set.observation.shape[1],
        reference_set.actions.shape[2],
        config,
        0,
        torch.device("cpu"),
        None,
    )
    generator = np.random.default_rng(0)
    update_sec = _cpu_sec(
        lambda: distiller.update(replay.sample(config.batch_size, generator)), arguments.num_updates
    )
    return {"add_sec": add_sec, "update_sec": update_sec}


def _measure_stream(collected: Collected, num_calls: int) -> dict[str, float]:
    """Returns what Redis takes for a fragment in a large batch, in and out, and what its reader does."""
    num_fragments = max(1, 256 * 1024 // payload_bytes([collected]))
    message = encode_batch(ReferenceBatch("a", 0, (collected,) * num_fragments))
    read_sec, num_messages = 0.0, 0
    with tempfile.TemporaryDirectory() as folder, LocalRedis(folder) as server:
        client: Any = connect(RedisConfig(server.url))
        client.xgroup_create("stream", "group", mkstream=True)
        start_server_sec = _server_sec(client)
        while num_messages < num_calls:
            pipeline = client.pipeline(transaction=False)
            for _ in range(16):
                pipeline.xadd("stream", {"m": message})
            pipeline.execute()
            start = time.process_time()
            answer = client.xreadgroup("group", "consumer", {"stream": ">"}, count=16)
            ids = [entry_id for entry_id, _ in answer[0][1]]
            client.xack("stream", "group", *ids)
            client.xdel("stream", *ids)
            read_sec += time.process_time() - start
            num_messages += len(ids)
        server_sec = _server_sec(client) - start_server_sec
    decode_sec = _cpu_sec(lambda: decode_batch(message, _MAX_BYTES), 50)
    return {
        "redis_sec": server_sec / num_messages / num_fragments,
        "decode_sec": (read_sec / num_messages + decode_sec) / num_fragments,
    }


def _server_sec(client: Any) -> float:
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def _start_ray(num_cpus: int) -> None:
    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=512 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


class _Sender:
    """Answers as an env runner does, at once, or never."""

    def __init__(self, collected: Collected):
        self._collected = dataclasses.replace(collected, reference_set=None)  # as small as a header
        self._reference_set = collected.reference_set

    def collect(self) -> tuple[Any, Any]:
        return self._collected, self._reference_set

    def sleep(self, duration_sec: float) -> None:
        time.sleep(duration_sec)


def _measure_ray(arguments: Any, collected: Collected) -> dict[str, float]:
    """Returns what the driver and the weight store take."""
    sender = ray.remote(num_cpus=0)(_Sender).remote(collected)
    ray.get(sender.collect.options(num_returns=2).remote())

    def take() -> Any:
        header, reference_set = sender.collect.options(num_returns=2).remote()
        ray.get(header)
        return reference_set

    driver_sec = _cpu_sec(take, arguments.num_calls)
    references = [take() for _ in range(50)]
    start = time.process_time()
    for reference in references:
        ray.get(reference)
    fetch_sec = (time.process_time() - start) / len(references)
    waiting = [sender.sleep.remote(20.0) for _ in range(_PENDING_REQUESTS)]
    wait_sec = _cpu_sec(lambda: ray.wait(waiting, num_returns=len(waiting), timeout=0), 20) / len(waiting)
    ray.kill(sender)

    config = _config(arguments.preset)
    env = make_config_env(config)
    weights = config.make_module(env).get_state()
    env.close()
    store = ray.remote(num_cpus=0)(WeightStore).remote()
    publish_sec = _cpu_sec(lambda: ray.get(store.publish.remote(1, weights)), 20)
    start = time.monotonic()
    pulled = ray.get([store.pull_if_newer.remote(None) for _ in range(arguments.num_calls)])
    pull_sec = (time.monotonic() - start) / arguments.num_calls
    pull_sec += _cpu_sec(lambda: ray.get(pulled[0].weights), 20)
    ray.kill(store)
    return {
        "driver_sec": driver_sec,
        "fetch_sec": fetch_sec,
        "wait_sec_per_request": wait_sec,
        "publish_sec": publish_sec,
        "pull_sec": pull_sec,
    }


def _run(num_env_runners: int, arguments: Any) -> dict[str, float]:
    """Trains for a while, after a while that is not counted."""
    config = _config(
        arguments.preset,
        f"env_runners.num_env_runners={num_env_runners}",
        "reporting.min_time_s_per_iteration=1",
        "reporting.min_sample_timesteps_per_iteration=1",
    )
    cores_before = free_cores()
    algorithm = config.build_algo()
    assert isinstance(algorithm, Distill)
    start = time.monotonic()
    while time.monotonic() - start < 0.3 * arguments.window_sec:
        before = algorithm.train()["loop"]
    start, lags = time.monotonic(), []
    while time.monotonic() - start < arguments.window_sec:
        loop = algorithm.train()["loop"]
        lags.append(loop["policy_lag_updates_mean"])
    elapsed = time.monotonic() - start
    algorithm.stop()
    return {
        "num_env_runners": num_env_runners,
        "updates_per_step": algorithm._loop_config.updates_per_step,
        "sets_per_sec": (loop["reference_sets"] - before["reference_sets"]) / elapsed,
        "updates_per_sec": (loop["updates"] - before["updates"]) / elapsed,
        "lag_updates": float(np.mean(lags)),
        "num_cores": 0.5 * (cores_before + free_cores()),
    }


def free_cores(duration_sec: float = 2.0) -> float:
    """Returns how many cores processes that only spin get at this moment: what others leave."""
    command = [sys.executable, "-c", _SPIN, str(duration_sec)]
    spinning = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    return sum(float(process.communicate()[0]) for process in spinning)


if __name__ == "__main__":
    main()
