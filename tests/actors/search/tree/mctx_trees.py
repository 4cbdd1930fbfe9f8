"""Trees searched by mctx, to compare with: `python tests/actors/search/tree/mctx_trees.py` writes them anew.

mctx (https://github.com/google-deepmind/mctx) searches discrete actions in JAX; over a table both search the
same problem. The files in `golden/` hold its trees, the noise it drew, and the versions that made them.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from slow_search import TableModel

FOLDER = Path(__file__).parent / "golden"


@dataclasses.dataclass(frozen=True)
class Case:
    """A search of a few random roots of a `TableModel`."""

    search: str  # "gumbel" or "muzero"
    seed: int
    num_actions: int
    num_simulations: int
    max_considered: int = 16
    max_depth: int | None = None
    invalid_fraction: float = 0.0
    num_roots: int = 6

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.search}_{self.seed}_k{self.num_actions}_n{self.num_simulations}"

    @property
    def model(self) -> TableModel:
        """What is searched."""
        return TableModel(seed=self.seed, num_states=256, num_actions=self.num_actions)

    @property
    def roots(self) -> np.ndarray:
        """States of the roots. Shape `[B]`."""
        return np.random.default_rng(self.seed + 100).integers(256, size=self.num_roots)

    @property
    def invalid_actions(self) -> np.ndarray:
        """Actions that must not be taken, never all of a root. Shape `[B, K]`."""
        generator = np.random.default_rng(self.seed + 200)
        invalid = generator.random((self.num_roots, self.num_actions)) < self.invalid_fraction
        invalid[np.arange(self.num_roots), generator.integers(self.num_actions, size=self.num_roots)] = False
        return invalid


CASES = (
    Case("gumbel", 0, num_actions=16, num_simulations=16),
    Case("gumbel", 1, num_actions=16, num_simulations=50),
    Case("gumbel", 2, num_actions=8, num_simulations=32, max_considered=4, max_depth=3),
    Case("gumbel", 3, num_actions=5, num_simulations=40, invalid_fraction=0.4),
    Case(
        "gumbel", 4, num_actions=12, num_simulations=24, max_considered=7, max_depth=2, invalid_fraction=0.3
    ),
    Case("muzero", 5, num_actions=16, num_simulations=16),
    Case("muzero", 6, num_actions=16, num_simulations=50),
    Case("muzero", 7, num_actions=4, num_simulations=40, max_depth=3, invalid_fraction=0.4),
)


def search_with_mctx(case: Case) -> dict[str, np.ndarray]:
    """Returns the arrays of mctx's tree, its weights and the Gumbel noise that it drew."""
    import jax
    import jax.numpy as jnp
    import mctx

    model, roots = case.model, case.roots
    tables = {
        name: jnp.asarray(getattr(model, name))
        for name in ("next_state", "reward", "discount", "prior_logits", "value")
    }

    def recurrent_fn(tables, rng_key, action, state):
        after = tables["next_state"][state, action]
        output = mctx.RecurrentFnOutput(
            reward=tables["reward"][state, action].astype(jnp.float32),
            discount=tables["discount"][state, action].astype(jnp.float32),
            prior_logits=tables["prior_logits"][after].astype(jnp.float32),
            value=tables["value"][after].astype(jnp.float32),
        )
        return output, after

    root = mctx.RootFnOutput(
        prior_logits=tables["prior_logits"][roots].astype(jnp.float32),
        value=tables["value"][roots].astype(jnp.float32),
        embedding=jnp.asarray(roots),
    )
    if case.search == "gumbel":
        policy = functools.partial(
            mctx.gumbel_muzero_policy, max_num_considered_actions=case.max_considered, gumbel_scale=1.0
        )
    else:
        policy = functools.partial(mctx.muzero_policy, dirichlet_fraction=0.0)
    found = policy(
        params=tables,
        rng_key=jax.random.PRNGKey(case.seed),
        root=root,
        recurrent_fn=recurrent_fn,
        num_simulations=case.num_simulations,
        invalid_actions=jnp.asarray(case.invalid_actions),
        max_depth=case.max_depth,
    )
    tree = found.search_tree
    arrays = {
        name: np.asarray(getattr(tree, name))
        for name in ("node_visits", "node_values", "children_index", "children_visits", "children_values")
    }
    arrays["action_weights"] = np.asarray(found.action_weights)
    arrays["action"] = np.asarray(found.action)
    if case.search == "gumbel":
        arrays["gumbel"] = np.asarray(tree.extra_data.root_gumbel)
    return arrays


def main() -> None:
    """Writes the golden trees."""
    import jax
    import mctx

    FOLDER.mkdir(exist_ok=True)
    versions = np.array([f"mctx {mctx.__version__}", f"jax {jax.__version__}"])
    for case in CASES:
        np.savez_compressed(FOLDER / f"{case.name}.npz", versions=versions, **search_with_mctx(case))


if __name__ == "__main__":
    main()
