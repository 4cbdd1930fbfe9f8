"""Data of the policy's value function, drawn from a tree."""

import numpy as np

from actors.search.tree.tree import Tree
from distill_rl.types import NStepTransitions


def draw_edge_transitions(
    tree: Tree, fallback_value: np.ndarray, num_transitions: int, generator: np.random.Generator
) -> NStepTransitions:
    """Draws steps of the zero-noise policy, which are the visited edges of first actions, anywhere in a tree.

    That of the root itself always stands first, the others are drawn uniformly, with repetition, among those
    of its tree: no step of them begins after a termination or touches a state that is not finite. Where there
    is no step, the root stands with the value it is known to have.

    Args:
      tree: whose nodes have the zero-noise action first.
      fallback_value: value of the policy at the roots. Shape `[B]`.
      num_transitions: `T`, steps of each root.
      generator: source of the draws.

    Returns:
      The steps. Shapes `[B, T, ...]`.
    """
    nodes = np.arange(tree.sink).reshape(tree.num_nodes, tree.num_roots).T
    children = tree.children[nodes, 0]
    is_finite = np.isfinite(tree.observations).all(axis=1)
    is_sound = (children != tree.sink) & tree.is_alive()[nodes] & is_finite[nodes] & is_finite[children]
    count = is_sound.sum(axis=1, keepdims=True)
    first = np.argsort(~is_sound, axis=1, kind="stable")
    drawn = (generator.random((tree.num_roots, num_transitions)) * count).astype(np.int64)
    node = np.take_along_axis(nodes, np.take_along_axis(first, drawn, axis=1), axis=1)
    node[:, 0] = roots = np.arange(tree.num_roots)
    is_there = np.broadcast_to(count > 0, node.shape).copy()
    is_there[:, 0] = is_sound[:, 0]
    node = np.where(is_there, node, roots[:, None])
    child = np.where(is_there, tree.children[node, 0], node)
    reward = np.where(is_there, tree.rewards[child], fallback_value[:, None])
    return NStepTransitions(
        observation=tree.observations[node],
        reward=reward.astype(np.float32),
        discount=np.where(is_there, tree.discounts[child], 0.0).astype(np.float32),
        next_observation=tree.observations[child],
    )
