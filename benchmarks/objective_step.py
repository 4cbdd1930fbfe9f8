"""The gradient step of every loss of the laboratory against plain consistency training, in one process.

Each is a step of an ensemble: data, noise, estimate, network forward and backward, Adam, averaging; five
members with fresh reference sets by default. Cpu-seconds of one thread, or wall seconds on a GPU where there
is one.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable
from typing import Any

import torch
from measuring import interleave, parse_arguments, report, spread

from learners.config import DistillationConfig
from learners.laboratory.experiment import Experiment
from learners.laboratory.methods import METHODS
from learners.laboratory.trainer import LaboratoryTrainer

_COLUMNS = {
    "method": "loss",
    "num_members": "members",
    "device": "device",
    "step_msec": "step, ms",
    "over_consistency": "over consistency training",
}


def main() -> None:
    """Times the losses by turns and prints the table."""
    arguments = parse_arguments(
        __doc__,
        methods=list(METHODS),
        num_instances=5,
        num_seeds=1,
        batch_size=64,
        num_candidates=16,
        num_repeats=7,
        min_sec=0.3,
    )
    torch.set_num_threads(1)
    report(_measure(arguments), _COLUMNS, arguments.json)


def _measure(arguments: Any) -> list[dict[str, Any]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    experiment = Experiment(
        data="fresh",
        num_instances=arguments.num_instances,
        num_seeds=arguments.num_seeds,
        batch_size=arguments.batch_size,
        num_candidates=arguments.num_candidates,
    )
    steps: dict[str, Callable[[], Any]] = {}
    for name in dict.fromkeys(["CT", *arguments.methods]):
        config = DistillationConfig(**METHODS[name], num_noises=experiment.num_noises)
        steps[name] = LaboratoryTrainer(experiment, config, device).update
    if device == "cuda":
        steps = {name: _synchronised(step) for name, step in steps.items()}
    clock = time.perf_counter if device == "cuda" else time.process_time
    seconds = interleave(steps, arguments.num_repeats, arguments.min_sec, clock)
    return [
        {
            "method": name,
            "num_members": experiment.num_members,
            "device": device,
            "step_msec": spread(1e3 * seconds[name]),
            "over_consistency": spread(seconds[name] / seconds["CT"]),
        }
        for name in arguments.methods
    ]


def _synchronised(step: Callable[[], Any]) -> Callable[[], None]:
    def synchronised() -> None:
        step()
        torch.cuda.synchronize()

    return synchronised


if __name__ == "__main__":
    main()
