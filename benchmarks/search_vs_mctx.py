"""Tree search against mctx, jitted, on one thread of the same processor.

Both search the same problem: a table of states with 16 actions each, whose look-up costs next to nothing, so
what is timed is the search. mctx is compiled and returns the chosen action and the improved policy only, as
ours do. Cpu-seconds by turns in one process; ratios are mctx's seconds over ours, so above 1 ours is faster.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np
from measuring import interleave, parse_arguments, report, spread

from actors.search.tree import numba_kernels, numpy_kernels
from actors.search.tree.gumbel_muzero import gumbel_muzero
from actors.search.tree.kernels import Kernels
from actors.search.tree.muzero import add_dirichlet_noise, muzero
from actors.search.tree.tree import Expansion, Tree, make_tree, write_prior
from distill_rl.cli.machine import keep_to_cores

_NUM_STATES, _NUM_ACTIONS, _DISCOUNT = 4_096, 16, 0.97
_KERNELS = {"numpy": numpy_kernels, "numba": numba_kernels}
_OURS = [
    *(
        ("gumbel", schedule, kernels)
        for schedule in ("rounds", "exact", "sequential")
        for kernels in _KERNELS
    ),
    *(("muzero", "sequential", kernels) for kernels in _KERNELS),
]
_COLUMNS = {
    "search": "search",
    "num_roots": "roots",
    "num_simulations": "simulations",
    "schedule": "schedule",
    "kernels": "kernels",
    "simulations_per_cpu_sec": "simulations per cpu-second",
    "over_mctx": "over mctx",
}


class TableModel:
    """States are numbers, whose rewards, values and next states are looked up."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        shape = (_NUM_STATES, _NUM_ACTIONS)
        self.next_state = generator.integers(_NUM_STATES, size=shape)
        self.reward = generator.random(shape)
        self.prior_logits = generator.normal(size=shape)
        self.value = generator.normal(size=_NUM_STATES)
        self._actions = np.arange(_NUM_ACTIONS)[None, :, None]
        self._nothing = np.zeros((1, 0), np.float32)

    def expand(self, state: np.ndarray, action: np.ndarray) -> Expansion:
        """Takes one step from each state. Shapes `[M, 1]`, `[M, 1]`."""
        state, action = state[:, 0], action[:, 0]
        after = self.next_state[state, action]
        return Expansion(
            state=after[:, None],
            observation=self._nothing,
            reward=self.reward[state, action],
            discount=np.full(len(state), _DISCOUNT),
            actions=self._actions,
            prior_logits=self.prior_logits[after],
            value=self.value[after],
        )

    def tree(self, roots: np.ndarray, num_simulations: int) -> Tree:
        """Returns a tree of roots, given their states. Shape `[B]`."""
        actions = np.repeat(self._actions, len(roots), axis=0)
        nothing = np.zeros((len(roots), 0), np.float32)
        logits, value = self.prior_logits[roots], self.value[roots]
        return make_tree(roots[:, None], nothing, actions, logits, value, num_simulations)


def main() -> None:
    """Measures every combination and prints the table."""
    arguments = parse_arguments(
        __doc__, num_roots=(1, 16, 64, 256), num_simulations=(16, 50, 100), num_repeats=7, min_sec=0.3
    )
    # XLA would spend cpu-seconds in a second thread, whatever its flags say.
    keep_to_cores(1)
    rows = []
    for num_simulations in arguments.num_simulations:
        for num_roots in arguments.num_roots:
            rows += _measure(num_roots, num_simulations, arguments)
    report(rows, _COLUMNS, arguments.json)


def _measure(num_roots: int, num_simulations: int, arguments: Any) -> list[dict[str, Any]]:
    model = TableModel()
    roots = np.random.default_rng(1).integers(_NUM_STATES, size=num_roots)
    functions = {
        ("mctx", search): _make_mctx(model, roots, num_simulations, search) for search in ("gumbel", "muzero")
    }
    for search, schedule, kernels in _OURS:
        functions[search, schedule, kernels] = _make_ours(
            model, roots, num_simulations, search, schedule, _KERNELS[kernels]
        )
    seconds = interleave(functions, arguments.num_repeats, arguments.min_sec)
    total = num_roots * num_simulations
    common = {"num_roots": num_roots, "num_simulations": num_simulations}
    rows = []
    for search in ("gumbel", "muzero"):
        base = seconds["mctx", search]
        row = {"search": search, "schedule": "mctx", "kernels": "jax", "over_mctx": 1.0}
        rows.append(row | common | {"simulations_per_cpu_sec": spread(total / base)})
        for key in _OURS:
            if key[0] == search:
                row = dict(zip(("search", "schedule", "kernels"), key, strict=True)) | common
                row["simulations_per_cpu_sec"] = spread(total / seconds[key])
                rows.append(row | {"over_mctx": spread(base / seconds[key])})
    return rows


def _make_ours(
    model: TableModel, roots: np.ndarray, num_simulations: int, search: str, schedule: str, kernels: Kernels
) -> Callable[[], Any]:
    generator = np.random.default_rng(2)

    def run() -> Any:
        tree = model.tree(roots, num_simulations)
        if search == "muzero":
            write_prior(tree, tree.roots, add_dirichlet_noise(tree.prior_logits[tree.roots], generator))
            return muzero(tree, model, num_simulations=num_simulations, kernels=kernels)
        gumbel = generator.gumbel(size=(len(roots), _NUM_ACTIONS))
        return gumbel_muzero(
            tree, model, gumbel, num_simulations=num_simulations, schedule=schedule, kernels=kernels
        )

    return run


def _make_mctx(model: TableModel, roots: np.ndarray, num_simulations: int, search: str) -> Callable[[], Any]:
    tables = {
        name: jnp.asarray(getattr(model, name), jnp.int32 if name == "next_state" else jnp.float32)
        for name in ("next_state", "reward", "prior_logits", "value")
    }
    policy = {
        "gumbel": functools.partial(mctx.gumbel_muzero_policy, max_num_considered_actions=16),
        "muzero": mctx.muzero_policy,
    }[search]

    def recurrent_fn(tables: Any, rng_key: Any, action: Any, state: Any) -> Any:
        after = tables["next_state"][state, action]
        output = mctx.RecurrentFnOutput(
            reward=tables["reward"][state, action],
            discount=jnp.full(state.shape, _DISCOUNT),
            prior_logits=tables["prior_logits"][after],
            value=tables["value"][after],
        )
        return output, after

    @jax.jit
    def run(tables: Any, rng_key: Any, roots: Any) -> Any:
        root = mctx.RootFnOutput(
            prior_logits=tables["prior_logits"][roots], value=tables["value"][roots], embedding=roots
        )
        found = policy(
            params=tables,
            rng_key=rng_key,
            root=root,
            recurrent_fn=recurrent_fn,
            num_simulations=num_simulations,
        )
        return found.action, found.action_weights

    key, states = jax.random.PRNGKey(0), jnp.asarray(roots, jnp.int32)
    return lambda: jax.block_until_ready(run(tables, key, states))


if __name__ == "__main__":
    main()
