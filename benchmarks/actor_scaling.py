"""Reference sets per second of two env runners against one, with a learner that is no bottleneck.

Both loops are built on one Ray cluster and run by turns; while one runs, the other waits with nothing in
flight. Each turn starts with an iteration that is not counted, so that all runners are at work. Rates are per
second of wall clock: they need as many free cores as there are runners.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "disabled")

import logging
import time
from typing import Any, NamedTuple

import numpy as np
import ray
from measuring import parse_arguments, report, spread

from distill_rl.algorithms.distill import Distill
from distill_rl.cli.presets import load_preset
from distill_rl.cli.sections import build_config

_COLUMNS = {
    "num_env_runners": "env runners",
    "reference_sets_per_sec": "reference sets per second",
    "simulator_steps_per_sec": "simulator steps per second",
    "speedup": "speed-up",
    "policy_lag_mean": "policy lag, mean (versions)",
    "updates_per_sec": "updates per second",
    "num_dropped": "dropped fragments",
}
_OBJECT_STORE_BYTES = 512 * 2**20
_COUNTERS = ("reference_sets", "simulator_steps", "updates")


class Turn(NamedTuple):
    """Rates of one turn of one loop."""

    rates: dict[str, float]  # of the counters, per second
    policy_lag_mean: float
    num_dropped: int


def main() -> None:
    """Measures one and two runners by turns and prints the table."""
    arguments = parse_arguments(
        __doc__,
        preset="cheetah_run",
        num_env_runners=(1, 2),
        num_repeats=7,
        window_sec=10.0,
        updates_per_step=0.01,
        num_envs=16,
        num_candidates=16,
    )
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=max(arguments.num_env_runners) + 1,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    loops = {number: _build(number, arguments) for number in arguments.num_env_runners}
    turns: dict[int, list[Turn]] = {number: [] for number in loops}
    for repeat in range(arguments.num_repeats):
        order = list(loops) if repeat % 2 == 0 else list(reversed(loops))
        for number in order:
            turns[number].append(_take_turn(loops[number], arguments.window_sec))
    for algorithm in loops.values():
        algorithm.stop()
    ray.shutdown()
    report(_rows(turns), _COLUMNS, arguments.json)


def _build(num_env_runners: int, arguments: Any) -> Distill:
    overrides = [
        f"env_runners.num_env_runners={num_env_runners}",
        f"env_runners.num_envs_per_env_runner={arguments.num_envs}",
        f"search.num_candidates={arguments.num_candidates}",
        f"search.num_perturbed={arguments.num_candidates // 2}",
        "search.ascent_steps=[]",
        f"loop.updates_per_step={arguments.updates_per_step}",
        "reporting.min_time_s_per_iteration=0",
        "reporting.min_sample_timesteps_per_iteration=1",
    ]
    config, _ = build_config(load_preset(arguments.preset, overrides=overrides))
    algorithm = config.build_algo()
    assert isinstance(algorithm, Distill)
    return algorithm


def _take_turn(algorithm: Distill, window_sec: float) -> Turn:
    """Runs a loop for a while and returns its rates; leaves nothing in flight."""
    before, start = algorithm.train()["loop"], time.monotonic()
    lags = []
    while time.monotonic() - start < window_sec:
        loop = algorithm.train()["loop"]
        lags.append(loop["policy_lag_mean"])
    elapsed = time.monotonic() - start
    ray.wait(algorithm.pending, num_returns=len(algorithm.pending), fetch_local=False)
    rates = {name: (loop[name] - before[name]) / elapsed for name in _COUNTERS}
    return Turn(rates, float(np.mean(lags)), int(loop["dropped"] - before["dropped"]))


def _rows(turns: dict[int, list[Turn]]) -> list[dict[str, Any]]:
    first = next(iter(turns.values()))
    base = np.array([turn.rates["reference_sets"] for turn in first])
    rows = []
    for number, own in turns.items():
        rates = {name: np.array([turn.rates[name] for turn in own]) for name in _COUNTERS}
        rows.append(
            {
                "num_env_runners": number,
                **{f"{name}_per_sec": spread(values) for name, values in rates.items()},
                "speedup": spread(rates["reference_sets"] / base),
                "policy_lag_mean": float(np.mean([turn.policy_lag_mean for turn in own])),
                "num_dropped": sum(turn.num_dropped for turn in own),
            }
        )
    return rows


if __name__ == "__main__":
    main()
