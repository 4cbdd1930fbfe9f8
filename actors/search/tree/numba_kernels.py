"""The inner loops of tree search, compiled: one simulation and one node after the other, as one would say it.

They do what `numpy_kernels` does, with the same results up to rounding. Needs numba (the extra `fast`).
"""

import math

import numpy as np
from numba import njit

from actors.search.tree.scores import SMALLEST_RANGE
from actors.search.tree.tree import Tree

_TINY = float(np.finfo(np.float32).tiny)


def descend(tree: Tree, root_edges: np.ndarray, max_depth: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Follows the best edges down; see `numpy_kernels.descend`."""
    depth = tree.num_nodes if max_depth is None else max_depth
    edges = _descend(tree.children, tree.best_edges, root_edges, tree.sink, depth)
    return edges, edges


def back_up(tree: Tree, trace: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """Carries the leaves' values up their paths; see `numpy_kernels.back_up`."""
    return _back_up(
        trace,
        leaves,
        tree.num_nodes,
        tree.parent_edges,
        tree.node_visits,
        tree.node_values,
        tree.rewards,
        tree.discounts,
        tree.child_values,
        tree.edge_visits,
    )


def choose_by_lag(tree: Tree, nodes: np.ndarray, value_scale: float, max_visit_init: float) -> np.ndarray:
    """Returns the action of the largest `visit_lag` of each node. Shape `[L]`."""
    return _choose_by_lag(
        nodes,
        tree.edge_visits,
        tree.rewards,
        tree.discounts,
        tree.child_values,
        tree.prior_logits,
        tree.prior_probs,
        tree.raw_values,
        value_scale,
        max_visit_init,
    )


def choose_by_puct(tree: Tree, nodes: np.ndarray, pb_c_init: float, pb_c_base: float) -> np.ndarray:
    """Returns the action of the largest `puct` of each node. Shape `[L]`."""
    return _choose_by_puct(
        nodes,
        tree.edge_visits,
        tree.rewards,
        tree.discounts,
        tree.child_values,
        tree.prior_probs,
        tree.node_visits,
        tree.node_values,
        pb_c_init,
        pb_c_base,
    )


@njit(cache=True)
def _descend(children, best_edges, root_edges, sink, max_depth):  # type: ignore[no-untyped-def]
    edges = np.empty_like(root_edges)
    for m in range(len(root_edges)):
        edge = root_edges[m]
        for _ in range(max_depth - 1):
            child = children[edge]
            if child == sink:
                break
            edge = best_edges[child]
        edges[m] = edge
    return edges


@njit(cache=True)
def _back_up(  # type: ignore[no-untyped-def]
    leaf_edges,
    leaves,
    num_nodes,
    parent_edges,
    node_visits,
    node_values,
    rewards,
    discounts,
    child_values,
    edge_visits,
):
    num_actions = rewards.shape[1]
    changed = []
    for m in range(len(leaves)):
        child, edge = leaves[m], leaf_edges[m]
        value = node_values[child]
        while True:
            parent, action = edge // num_actions, edge % num_actions
            value = rewards[parent, action] + discounts[parent, action] * value
            visits = node_visits[parent]
            node_values[parent] = (node_values[parent] * visits + value) / (visits + 1.0)
            node_visits[parent] = visits + 1.0
            child_values[parent, action] = node_values[child]
            edge_visits[parent, action] += 1.0
            changed.append(child)
            if parent % num_nodes == 0:
                break
            child, edge = parent, parent_edges[parent]
    return np.array(changed)


@njit(cache=True)
def _choose_by_lag(  # type: ignore[no-untyped-def]
    nodes,
    edge_visits,
    rewards,
    discounts,
    child_values,
    prior_logits,
    prior_probs,
    raw_values,
    value_scale,
    max_visit_init,
):
    num_actions = rewards.shape[1]
    actions = np.empty(len(nodes), np.int64)
    completed = np.empty(num_actions)
    for index in range(len(nodes)):
        node = nodes[index]
        mass = mean = total = most = 0.0
        for k in range(num_actions):
            visits = edge_visits[node, k]
            if visits > 0.0:
                q_value = rewards[node, k] + discounts[node, k] * child_values[node, k]
                prior = max(prior_probs[node, k], _TINY)
                completed[k] = q_value
                mass += prior
                mean += prior * q_value
                total += visits
                most = max(most, visits)
        if mass > 0.0:
            mean /= mass
        mixed = (raw_values[node] + total * mean) / (total + 1.0)
        low, high = math.inf, -math.inf
        for k in range(num_actions):
            if edge_visits[node, k] == 0.0:
                completed[k] = mixed
            low, high = min(low, completed[k]), max(high, completed[k])
        scale = (max_visit_init + most) * value_scale / max(high - low, SMALLEST_RANGE)
        largest = -math.inf
        for k in range(num_actions):
            completed[k] = prior_logits[node, k] + scale * (completed[k] - low)
            largest = max(largest, completed[k])
        normaliser = 0.0
        for k in range(num_actions):
            completed[k] = math.exp(completed[k] - largest)
            normaliser += completed[k]
        best, best_lag = 0, -math.inf
        for k in range(num_actions):
            lag = completed[k] / normaliser - edge_visits[node, k] / (1.0 + total)
            if lag > best_lag:
                best, best_lag = k, lag
        actions[index] = best
    return actions


@njit(cache=True)
def _choose_by_puct(  # type: ignore[no-untyped-def]
    nodes,
    edge_visits,
    rewards,
    discounts,
    child_values,
    prior_probs,
    node_visits,
    node_values,
    pb_c_init,
    pb_c_base,
):
    num_actions = rewards.shape[1]
    actions = np.empty(len(nodes), np.int64)
    for index in range(len(nodes)):
        node = nodes[index]
        low = high = node_values[node]
        for k in range(num_actions):
            if edge_visits[node, k] > 0.0:
                q_value = rewards[node, k] + discounts[node, k] * child_values[node, k]
                low, high = min(low, q_value), max(high, q_value)
        visits = node_visits[node]
        weight = math.sqrt(visits) * (pb_c_init + math.log((visits + pb_c_base + 1.0) / pb_c_base))
        best, best_score = 0, -math.inf
        for k in range(num_actions):
            score = weight * prior_probs[node, k] / (1.0 + edge_visits[node, k])
            if edge_visits[node, k] > 0.0:
                q_value = rewards[node, k] + discounts[node, k] * child_values[node, k]
                score = (q_value - low) / max(high - low, SMALLEST_RANGE) + score
            if score > best_score:
                best, best_score = k, score
        actions[index] = best
    return actions
