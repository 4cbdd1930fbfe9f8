"""Checks a model of the loop against real runs, and draws it to ten thousand actors.

Reads what `scaling_times.py` measured, or another file of that kind. Every figure but those of the real runs
comes from the model of `scaling_simulation.py`, in which each part has a core of its own.

    python benchmarks/scaling_times.py --json benchmarks/results/scaling/times.json
    python benchmarks/scaling_model.py --json benchmarks/results/scaling/results.json
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from measuring import parse_arguments, report
from scaling_figure import draw
from scaling_layout import Layout, ServiceTimes
from scaling_simulation import actors_per_learner, simulate

_TIMES = Path(__file__).parent / "results" / "scaling" / "times.json"
_STREAM_MESSAGES = 128  # `StreamConfig.max_outstanding`
_CHECK_COLUMNS = {
    "num_actors": "env runners",
    "num_cores": "cores left to us",
    "real_sets_per_sec": "sets/s, real",
    "sets_per_sec": "model",
    "real_lag_updates": "lag (updates), real",
    "lag_updates": "model",
}
_CURVE_COLUMNS = {
    "operator": "operator",
    "setting": "setting",
    "num_actors": "actors",
    "sets_per_sec": "sets/s",
    "stale_share": "too old",
    "lag_updates": "lag (updates)",
    "actor_share": "actors at work",
    "driver_share": "driver busy",
    "learner_share": "learner busy",
}
_RATIO_COLUMNS = {
    "operator": "operator",
    "search_ms": "search (cpu ms a fragment)",
    "learner_ms": "learner (cpu ms a fragment)",
    "actors_per_learner": "actors for one learner",
    "actors_per_learner_at_tenth": "with a tenth of the updates",
}


def main() -> None:
    """Simulates, prints the tables, and writes rows and figure."""
    arguments = parse_arguments(
        __doc__,
        times=str(_TIMES),
        figure="",
        num_actors=(1, 4, 16, 64, 256, 1024, 10_000),
        num_periods=2.0,
    )
    measured = json.loads(Path(arguments.times).read_text())
    times = {name: read_times(values) for name, values in measured["operators"].items()}
    default = next(iter(times))
    checks = [_check(run, times[default], arguments.num_periods) for run in measured["runs"]]
    ratios = [_ratio(name, own) for name, own in times.items()]
    curves = [
        row
        for name, own in times.items()
        for setting, options in _settings().items()
        for row in _curve(name, own, setting, options, arguments)
        if name == default or setting == "one learner"
    ]
    report(checks, _CHECK_COLUMNS, None)
    report(ratios, _RATIO_COLUMNS, None)
    report(curves, _CURVE_COLUMNS, None)
    if arguments.json is not None:
        rows = {"check": checks, "ratio": ratios, "curve": curves}
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.figure:
        draw(checks, curves, Path(arguments.figure))


def read_times(values: dict[str, Any]) -> ServiceTimes:
    """Returns the service times of an operator from those of the file."""
    fields = {field.name for field in dataclasses.fields(ServiceTimes)}
    own = {name: value for name, value in values.items() if name in fields}
    own["search_sec"] = np.array(values["search_sec"])
    own["add_sec"] = values["add_sec"] + values["fetch_sec"]
    return ServiceTimes(**own)


def learned_sets_per_sec(row: dict[str, Any], updates_per_step: float) -> float:
    """Returns the sets that the updates were owed for, without those that were too old."""
    stale_share = row["stale_share"] if row["stale_share"] == row["stale_share"] else 0.0
    return float(row["updates_per_sec"] / updates_per_step * (1.0 - stale_share))


def _check(run: dict[str, Any], times: ServiceTimes, num_periods: float) -> dict[str, Any]:
    """Compares a real run with the model on as many cores as it had."""
    layout = Layout(
        run["num_env_runners"], run["updates_per_step"], is_local=True, num_cores=run["num_cores"]
    )
    outcome = simulate(times, layout, 4.0 * num_periods)
    return {
        "num_actors": run["num_env_runners"],
        "num_cores": run["num_cores"],
        "real_sets_per_sec": run["sets_per_sec"],
        "real_lag_updates": run["lag_updates"],
        **dataclasses.asdict(outcome),
    }


def _ratio(name: str, times: ServiceTimes) -> dict[str, Any]:
    ratio = actors_per_learner(times, 0.5)
    search_sec = float(times.search_sec.mean())
    return {
        "operator": name,
        "search_ms": 1e3 * search_sec,
        "learner_ms": 1e3 * search_sec / ratio,
        "actors_per_learner": ratio,
        "actors_per_learner_at_tenth": actors_per_learner(times, 0.05),
    }


def _settings() -> dict[str, dict[str, Any]]:
    """Returns the layouts of the curves: what changes beside the number of actors."""
    return {
        "one learner": {},
        "one learner, a tenth of the updates": {"updates_per_step": 0.05},
        "learners in proportion": {"in_proportion": True},
        "learners in proportion, stream": {"in_proportion": True, "stream_messages": _STREAM_MESSAGES},
    }


def _curve(
    name: str, times: ServiceTimes, setting: str, options: dict[str, Any], arguments: Any
) -> list[dict[str, Any]]:
    rows = []
    for num_actors in arguments.num_actors:
        own = dict(options)
        if own.pop("in_proportion", False):
            own["num_learners"] = max(1, round(1.2 * num_actors / actors_per_learner(times, 0.5)))
        layout = Layout(num_actors, **own)
        outcome = simulate(times, layout, arguments.num_periods)
        row = {"operator": name, "setting": setting, "num_actors": num_actors, **dataclasses.asdict(outcome)}
        # By updates: sets arrive in bursts, of which a window holds a few.
        row["sets_per_sec"] = learned_sets_per_sec(row, layout.updates_per_step)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
