"""From a result of RLlib to one flat row of metrics, and from rows to the summary of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS, LEARNER_RESULTS

STUDENT_EVALUATION = "evaluation/student_return"
"""Return of whole episodes of the student without noise."""

_EVALUATED = "episode_return_mean"


def collect_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Picks the numbers of one training iteration.

    Args:
      result: what `train` of the algorithm returned.

    Returns:
      The section `loop` under its own names, the learner's metrics under `learner/...`, and the returns of an
      evaluation, if there was one, under `evaluation/...`.
    """
    learner = result.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {})
    evaluation = result.get(EVALUATION_RESULTS, {})
    evaluated = {
        STUDENT_EVALUATION: evaluation.get(ENV_RUNNER_RESULTS, {}).get(_EVALUATED),
        "evaluation/search_return": evaluation.get("search_policy", {}).get(_EVALUATED),
    }
    values = {**result["loop"], **{f"learner/{name}": value for name, value in learner.items()}, **evaluated}
    return {name: value for name, value in values.items() if _is_number(value)}


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums a run up, before it is evaluated.

    Args:
      rows: its rows of metrics, in order.

    Returns:
      Totals and, while nothing better is known, the running returns of the last row; None where unknown, or
      where nothing counts it.
    """
    last = rows[-1] if rows else {}
    lags = [row["policy_lag_mean"] for row in rows if row.get("policy_lag_mean") is not None]
    return {
        "student_return": last.get("student_return"),
        "search_return": last.get("search_return"),
        "untrained_return": None,
        "env_steps": last.get("env_steps", 0),
        "simulator_steps": last.get("simulator_steps", 0),
        "reference_sets": last.get("reference_sets", 0),
        "updates": last.get("updates", 0),
        "wall_seconds": last.get("elapsed_sec", 0.0),
        "policy_lag_mean": sum(lags) / len(lags) if lags else None,
        "dropped": last.get("dropped"),
        "restarts": last.get("restarts"),
        "skipped_updates": last.get("skipped_updates", 0),
        "iterations": len(rows),
    }


def student_search_ratio(summary: Mapping[str, Any]) -> float | None:
    """Returns the student's return over the search's; None if one is unknown or the search's not positive."""
    student, search = summary["student_return"], summary["search_return"]
    if student is None or search is None or not search > 0:
        return None
    ratio = student / search
    return ratio if math.isfinite(ratio) else None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, (bool, str))
