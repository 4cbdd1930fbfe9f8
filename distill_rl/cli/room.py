"""Room in the cluster: a run starts when all its processes fit, and says what it waits for until then."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.util import placement_group, remove_placement_group

from distill_rl.cli.failure import TrainingError
from distill_rl.cli.stop_request import StopRequest

_TELL_AFTER_SEC, _TELL_INTERVAL_SEC = 2.0, 10.0
_POLL_SEC = 0.5


def needed_room(config: AlgorithmConfig) -> list[dict[str, float]]:
    """Returns what Ray is asked for by each process of a run beside its driver."""
    request = config.algo_class.default_resource_request(config)
    return request.bundles[0 if request.head_bundle_is_empty else 1 :]


def wait_for_room(
    needed: list[dict[str, float]], timeout_sec: float, stop: StopRequest, note_fn: Callable[[str], None]
) -> bool:
    """Waits until all processes of a run fit into the cluster at once; an autoscaler sees what is missing.

    Machines that others use are waited for without limit.

    Args:
      needed: resources of each process.
      timeout_sec: of waiting for machines that are not there, from when the last one joined.
      stop: a signal ends the waiting.
      note_fn: told every ten seconds what is waited for.

    Returns:
      Whether there is room; not if a signal came.

    Raises:
      TrainingError: if no machine joined for too long.
    """
    if not needed:
        return True
    group = placement_group(needed, strategy="PACK")
    try:
        resources, changed_sec = ray.cluster_resources(), time.monotonic()
        tell_sec = changed_sec + _TELL_AFTER_SEC
        while not group.wait(_POLL_SEC):
            if stop.signal_number is not None:
                return False
            found, now_sec = ray.cluster_resources(), time.monotonic()
            if found != resources or not _lacking(needed, found):
                resources, changed_sec = found, now_sec
            line = _describe(needed, found)
            if now_sec - changed_sec > timeout_sec:
                raise TrainingError(f"no machine has joined for {timeout_sec:g} s: {line}")
            if now_sec >= tell_sec:
                tell_sec = now_sec + _TELL_INTERVAL_SEC
                note_fn(line)
        return True
    finally:
        remove_placement_group(group)


def _lacking(needed: list[dict[str, float]], resources: Mapping[str, float]) -> set[str]:
    """Returns the names of resources of which the whole cluster has less than the run needs."""
    totals: Counter[str] = Counter()
    for process in needed:
        totals.update(process)
    return {name for name, amount in totals.items() if amount > resources.get(name, 0.0)}


def _describe(needed: list[dict[str, float]], resources: Mapping[str, float]) -> str:
    lacking = _lacking(needed, resources)
    waiting = [process for process in needed if not lacking or lacking & process.keys()]
    kinds = Counter(map(_show, waiting))
    names = dict.fromkeys(name for process in waiting for name in process)
    has, state = ray.available_resources() if not lacking else resources, "free" if not lacking else ""
    found = _show({name: has.get(name, 0.0) for name in names})
    asked = ", ".join(f"{number} x {kind}" for kind, number in kinds.items())
    return f"waiting for {asked}; the cluster has {found} {state}".rstrip()


def _show(amounts: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in amounts.items()) + "}"
