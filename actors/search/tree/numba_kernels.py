"""The inner loops of tree search, compiled: one simulation and one node after the other, as one would say it.

They do what `numpy_kernels` does, with the same results up to rounding. Needs numba (the extra `fast`).
"""

import math

import numpy as np
from numba import njit

from actors.search.tree.scores import SMALLEST_RANGE
from actors.search.tree.tree import Expansion, Tree, check_logits

_TINY = float(np.finfo(np.float32).tiny)


def descend(tree: Tree, root_edges: np.ndarray, max_depth: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Follows the best edges down; see `numpy_kernels.descend`."""
    depth = tree.num_nodes if max_depth is None else max_depth
    edges = _descend(tree.children, tree.best_edges, root_edges, tree.sink, depth)
    return edges, edges


def expand(tree: Tree, edges: np.ndarray, expansion: Expansion) -> np.ndarray:
    """Writes what the model says about the nodes that edges lead to; see `numpy_kernels.expand`.

    Raises:
      ValueError: if a logit is not finite, naming its row.
    """
    nodes, row = _expand(
        edges,
        tree.sink,
        tree.num_nodes,
        tree.children,
        tree.num_simulations,
        tree.parent_edges,
        tree.prior_logits,
        tree.prior_probs,
        tree.raw_values,
        tree.node_values,
        tree.node_visits,
        tree.rewards,
        tree.discounts,
        np.asarray(expansion.prior_logits, np.float64),
        np.asarray(expansion.value, np.float64),
        np.asarray(expansion.reward, np.float64),
        np.asarray(expansion.discount, np.float64),
    )
    if row >= 0:
        check_logits(expansion.prior_logits)
    return nodes


def complete(
    tree: Tree, nodes: np.ndarray, value_scale: float, max_visit_init: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns completed and scaled values of nodes; see `numpy_kernels.complete`. Shapes `[L, K]`."""
    return _complete(
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
def _expand(  # type: ignore[no-untyped-def]
    edges,
    sink,
    num_nodes,
    children,
    num_simulations,
    parent_edges,
    prior_logits,
    prior_probs,
    raw_values,
    node_values,
    node_visits,
    rewards,
    discounts,
    new_logits,
    new_values,
    new_rewards,
    new_discounts,
):
    num_actions, num_offered = rewards.shape[1], new_logits.shape[1]
    nodes = np.empty(len(edges), np.int64)
    bad_row = -1
    for m in range(len(edges)):
        edge = edges[m]
        parent, action = edge // num_actions, edge % num_actions
        root = parent // num_nodes
        num_simulations[root] += 1
        node = children[edge]
        if node == sink:
            node = root * num_nodes + num_simulations[root]
        nodes[m] = node
        largest = -math.inf
        for k in range(num_offered):
            logit = new_logits[m, k]
            if not math.isfinite(logit):
                bad_row = m
            prior_logits[node, k] = logit
            largest = max(largest, logit)
        total = 0.0
        for k in range(num_offered):
            prior_probs[node, k] = math.exp(new_logits[m, k] - largest)
            total += prior_probs[node, k]
        for k in range(num_offered):
            prior_probs[node, k] /= total
        for k in range(num_offered, num_actions):
            prior_logits[node, k] = -math.inf
            prior_probs[node, k] = 0.0
        raw_values[node] = node_values[node] = new_values[m]
        node_visits[node] += 1.0
        children[edge] = node
        parent_edges[node] = edge
        rewards[parent, action] = new_rewards[m]
        discounts[parent, action] = new_discounts[m]
    return nodes, bad_row


@njit(cache=True)
def _complete_node(  # type: ignore[no-untyped-def]
    node,
    edge_visits,
    rewards,
    discounts,
    child_values,
    prior_logits,
    prior_probs,
    raw_values,
    value_scale,
    max_visit_init,
    completed,
):
    """Writes the completed values of a node; returns their minimum, and the factor that scales them."""
    num_actions = rewards.shape[1]
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
        if prior_logits[node, k] > -math.inf:  # else the node does not have it
            low, high = min(low, completed[k]), max(high, completed[k])
    return low, (max_visit_init + most) * value_scale / max(high - low, SMALLEST_RANGE)


@njit(cache=True)
def _complete(  # type: ignore[no-untyped-def]
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
    completed = np.empty((len(nodes), rewards.shape[1]))
    scaled = np.empty_like(completed)
    for index in range(len(nodes)):
        low, scale = _complete_node(
            nodes[index],
            edge_visits,
            rewards,
            discounts,
            child_values,
            prior_logits,
            prior_probs,
            raw_values,
            value_scale,
            max_visit_init,
            completed[index],
        )
        for k in range(rewards.shape[1]):
            scaled[index, k] = scale * (completed[index, k] - low)
    return completed, scaled


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
    probs = np.empty(num_actions)
    for index in range(len(nodes)):
        node = nodes[index]
        low, scale = _complete_node(
            node,
            edge_visits,
            rewards,
            discounts,
            child_values,
            prior_logits,
            prior_probs,
            raw_values,
            value_scale,
            max_visit_init,
            probs,
        )
        largest, num_visits = -math.inf, 0.0
        for k in range(num_actions):
            probs[k] = prior_logits[node, k] + scale * (probs[k] - low)
            largest = max(largest, probs[k])
            num_visits += edge_visits[node, k]
        total = 0.0
        for k in range(num_actions):
            probs[k] = math.exp(probs[k] - largest)
            total += probs[k]
        best, best_lag = 0, -math.inf
        for k in range(num_actions):
            lag = probs[k] / total - edge_visits[node, k] / (1.0 + num_visits)
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
