"""The broadcast of weights inside a cluster: through the store that actors pull from, or by a call to each.

Weights reach four actors on this machine again and again, both ways by turns. A latency is that of the clock,
from before the weights are handed over until the last actor has them. `store` is what a run does: publish to
the `WeightStore`, whose copy every actor asks for and fetches. `call` puts them into the object store and
hands every actor the reference, the least that Ray can do; but whoever calls must know all actors, and waits
for the dead ones.
"""

import time
from collections.abc import Callable

import numpy as np
import ray
from measuring import parse_arguments, report, spread

from distill_rl.algorithms.weight_store import Publication, PullToken, WeightStore
from distill_rl.cli.ray_session import start_ray

_COLUMNS = {
    "way": "way",
    "kilobytes": "KB",
    "num_actors": "actors",
    "median_ms": "median (ms)",
    "p95_ms": "p95 (ms)",
}
_NUM_ARRAYS = 16  # of as many layers
_NUM_WARM_UP = 10

Weights = dict[str, np.ndarray]


class Reader:
    """Takes weights, as an env runner does."""

    def __init__(self) -> None:
        self._token: PullToken | None = None

    def take(self, weights: Weights) -> int:
        """Takes weights that were sent; returns how many bytes."""
        return sum(array.nbytes for array in weights.values())

    def pull(self, store: ray.actor.ActorHandle) -> int:
        """Takes the latest weights of the store; returns how many bytes."""
        publication: Publication = ray.get(store.pull_if_newer.remote(self._token))
        self._token = publication.token
        return self.take(ray.get(publication.weights))


def main() -> None:
    """Measures both ways at each size and prints the table."""
    arguments = parse_arguments(
        __doc__, kilobytes=(100, 1024, 10_240), num_actors=4, num_publications=100, num_repeats=5
    )
    start_ray()
    make_actor = ray.remote(num_cpus=0)
    readers = [make_actor(Reader).remote() for _ in range(arguments.num_actors)]
    store = make_actor(WeightStore).remote()

    def through_store(weights: Weights) -> None:
        ray.get(store.publish.remote(0, weights))
        ray.get([reader.pull.remote(store) for reader in readers])

    def by_calls(weights: Weights) -> None:
        reference = ray.put(weights)
        ray.get([reader.take.remote(reference) for reader in readers])

    ways = {"store": through_store, "call": by_calls}
    rows = []
    for kilobytes in arguments.kilobytes:
        size = kilobytes * 1024 // 4 // _NUM_ARRAYS
        weights = {str(i): np.full(size, i, np.float32) for i in range(_NUM_ARRAYS)}
        for send in ways.values():
            _time(send, weights, _NUM_WARM_UP)
        seconds: dict[str, list[np.ndarray]] = {way: [] for way in ways}
        for _ in range(arguments.num_repeats):
            for way, send in ways.items():
                seconds[way].append(_time(send, weights, arguments.num_publications))
        for way, turns in seconds.items():
            msec = 1e3 * np.array(turns)
            row = {"way": way, "kilobytes": kilobytes, "num_actors": arguments.num_actors}
            row |= {"median_ms": spread(np.median(msec, axis=1))}
            rows.append(row | {"p95_ms": spread(np.quantile(msec, 0.95, axis=1))})
    report(rows, _COLUMNS, arguments.json)


def _time(send: Callable[[Weights], None], weights: Weights, count: int) -> np.ndarray:
    """Returns the seconds of each of `count` broadcasts. Shape `[count]`."""
    seconds = np.empty(count)
    for index in range(count):
        start = time.perf_counter()
        send(weights)
        seconds[index] = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    main()
