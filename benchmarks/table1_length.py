"""Rows of Table 1 at the length of the paper: chosen losses of `distill-rl reproduce table1 --scale full`.

All of `full` needs a GPU; this runs one loss after the other, on as many instances and seeds as are asked
for. No time is measured.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from measuring import parse_arguments, report

from distill_rl.cli.experiments.laboratory import LossSpec, run_loss
from distill_rl.cli.experiments.table1 import table1_specs
from distill_rl.cli.experiments.table1_tables import LIKELIHOOD_COLUMNS


def main() -> None:
    """Trains the losses and prints means over instances and seeds after every part of the updates."""
    arguments = parse_arguments(
        __doc__,
        losses=("original", "gumbel", "importance", "corrected"),
        num_instances=5,
        num_seeds=5,
        num_updates=100_000,
        num_evaluations=5,
        seed=0,
    )
    rows = []
    for loss in arguments.losses:
        fields = table1_specs("full")[f"fixed_2_{loss.replace(' ', '_')}"]
        spec = LossSpec(**{name: value for name, value in fields.items() if name != "kind"})
        counts = {name: getattr(arguments, name) for name in ("num_instances", "num_seeds", "seed")}
        rows += run_loss(
            LossSpec(
                **{
                    **vars(spec),
                    "experiment": {**spec.experiment, **counts},
                    "num_updates": arguments.num_updates,
                    "num_evaluations": arguments.num_evaluations,
                }
            ),
            lambda share: None,
        )
    columns = {"method": "loss", "update": "updates"} | LIKELIHOOD_COLUMNS
    report(_means(rows), columns, arguments.json, "mean and standard deviation over instances and seeds")


def _means(rows: list[dict]) -> list[dict]:
    means = []
    for method, update in dict.fromkeys((row["method"], row["update"]) for row in rows):
        own = [row for row in rows if (row["method"], row["update"]) == (method, update)]
        values = {name: [row[name] for row in own] for name in LIKELIHOOD_COLUMNS}
        cells = {name: f"{np.mean(column):.3g} ± {np.std(column):.2g}" for name, column in values.items()}
        means.append({"method": method, "update": update, **cells, "values": values})
    return means


if __name__ == "__main__":
    main()
