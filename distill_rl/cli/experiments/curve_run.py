"""One run of one method, in a process of its own.

python -m distill_rl.cli.experiments.curve_run SPEC FOLDER
"""

import os

# Before anything that reads them. Each method decides on its threads itself; those that wait must not spin on
# a core that another process could use.
os.environ.setdefault("MUJOCO_GL", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import logging
import sys
from pathlib import Path

import ray

from distill_rl.cli.experiments.base import Row
from distill_rl.cli.experiments.contenders import CONTENDERS
from distill_rl.cli.experiments.curves import CurveSpec, TrainingClock, record_curve
from distill_rl.cli.experiments.jobs import save_result
from distill_rl.cli.machine import describe_machine, keep_to_cores
from distill_rl.envs import make_env

_OBJECT_STORE_BYTES = 512 * 2**20


def run_curve(spec: CurveSpec) -> list[Row]:
    """Records the learning curve of a run, on a Ray cluster of its own.

    Args:
      spec: of the run.

    Returns:
      One row for each evaluation of each policy, with the machine it was taken on.
    """
    keep_to_cores(spec.num_cores)
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=spec.num_cores,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    envs = [
        make_env(spec.env, action_repeat=spec.action_repeat) for _ in range(max(spec.num_episodes.values()))
    ]
    contender = CONTENDERS[spec.method](spec)
    try:
        rows = record_curve(contender, spec, envs, TrainingClock())
    finally:
        contender.stop()
        ray.shutdown()
    machine = describe_machine()
    return [{**row, "machine": machine} for row in rows]


def main(spec_path: Path, folder: Path) -> None:
    """Runs the specification in a file and writes its rows into a folder."""
    spec = json.loads(spec_path.read_text(encoding="utf-8"))
    save_result(folder, spec, run_curve(CurveSpec(**spec)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
