"""What `numba_kernels` compiles: one simulation and one node after the other, as one would say it.

Arrays are those of `Tree` by name. Results are written to arrays of the caller, since to return one costs as
much as a short loop.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

import functools
import math

import numba
import numpy as np

from actors.search.tree.numpy_kernels import LOWEST_SCORE
from actors.search.tree.scores import SMALLEST_PRIOR, SMALLEST_RANGE

_compiled = functools.partial(numba.njit, cache=True, error_model="numpy")


@_compiled()
def descend(edges, root_edges, children, best_edges, max_depth):
    """Writes the last edge of each path."""
    num_actions, sink = children.shape[1], len(children) - 1
    for m in range(len(root_edges)):
        edge = root_edges[m]
        for _ in range(max_depth - 1):
            child = children[edge // num_actions, edge % num_actions]
            if child == sink:
                break
            edge = best_edges[child]
        edges[m] = edge


@_compiled()
def back_up(inner, leaves, num_roots, parents, node_visits, node_values, rewards, discounts, q_values):
    """Writes the nodes between roots and leaves to `inner`, and returns how many there are."""
    count = 0
    for leaf in leaves:
        node, value = leaf, node_values[leaf]
        while node >= num_roots:
            q_values[node] = rewards[node] + discounts[node] * node_values[node]
            value = rewards[node] + discounts[node] * value
            node = parents[node]
            visits = node_visits[node]
            node_values[node] = (node_values[node] * visits + value) / (visits + 1.0)
            node_visits[node] = visits + 1.0
            inner[count] = node
            count += 1
        count -= 1  # the root
    return count


@_compiled()
def _complete_node(
    completed,
    node,
    children,
    node_visits,
    q_values,
    prior_logits,
    raw_values,
    value_scale,
    max_visit_init,
):
    """Writes the completed values of a node; returns their minimum, and the factor that scales them."""
    num_actions, sink = children.shape[1], len(children) - 1
    largest = prior_logits[node, 0]
    for k in range(1, num_actions):
        largest = max(largest, prior_logits[node, k])
    mass = mean = total = most = 0.0
    for k in range(num_actions):
        child = children[node, k]
        if child != sink:
            weight = max(math.exp(prior_logits[node, k] - largest), SMALLEST_PRIOR)
            mass += weight
            mean += weight * q_values[child]
            total += node_visits[child]
            most = max(most, node_visits[child])
    if mass > 0.0:
        mean /= mass
    mixed = (raw_values[node] + total * mean) / (total + 1.0)
    low, high = math.inf, -math.inf
    for k in range(num_actions):
        child = children[node, k]
        completed[k] = mixed if child == sink else q_values[child]
        if prior_logits[node, k] > -math.inf:  # else the node does not have it
            low, high = min(low, completed[k]), max(high, completed[k])
    return low, (max_visit_init + most) * value_scale / max(high - low, SMALLEST_RANGE)


@_compiled()
def _rank_roots(
    edges,
    noisy_logits,
    considered,
    children,
    node_visits,
    q_values,
    prior_logits,
    raw_values,
    value_scale,
    max_visit_init,
):
    """Writes the best edges of the roots, best first; all of them in their own order."""
    (width, num_roots), num_actions = edges.shape, children.shape[1]
    scores = np.empty(num_actions)
    for root in range(num_roots):
        if width == num_actions:
            edges[:, root] = root * num_actions + np.arange(num_actions)
            continue
        low, scale = _complete_node(
            scores,
            root,
            children,
            node_visits,
            q_values,
            prior_logits,
            raw_values,
            value_scale,
            max_visit_init,
        )
        for k in range(num_actions):
            score = -math.inf
            if noisy_logits[root, k] > -math.inf and node_visits[children[root, k]] == considered[root]:
                score = max(LOWEST_SCORE, noisy_logits[root, k] + scale * (scores[k] - low))
            scores[k] = score
            place = min(k, width)
            while place > 0 and scores[edges[place - 1, root]] < score:
                if place < width:
                    edges[place, root] = edges[place - 1, root]
                place -= 1
            if place < width:
                edges[place, root] = k
        for place in range(width):
            edges[place, root] += root * num_actions


@_compiled()
def improve_roots(
    action,
    log_weights,
    completed,
    noisy_logits,
    children,
    node_visits,
    q_values,
    prior_logits,
    raw_values,
    value_scale,
    max_visit_init,
):
    """Writes the best of the most visited actions of the roots, their improved policy and their values."""
    num_roots, num_actions = completed.shape
    for root in range(num_roots):
        low, scale = _complete_node(
            completed[root],
            root,
            children,
            node_visits,
            q_values,
            prior_logits,
            raw_values,
            value_scale,
            max_visit_init,
        )
        best, most, best_score, largest, total = 0, 0.0, -math.inf, -math.inf, 0.0
        for k in range(num_actions):
            is_valid, visits = noisy_logits[root, k] > -math.inf, node_visits[children[root, k]]
            scaled = scale * (completed[root, k] - low)
            score = max(LOWEST_SCORE, noisy_logits[root, k] + scaled)
            if is_valid and (visits > most or (visits == most and score > best_score)):
                best, most, best_score = k, visits, score
            log_weights[root, k] = prior_logits[root, k] + scaled if is_valid else -math.inf
            largest = max(largest, log_weights[root, k])
        for k in range(num_actions):
            total += math.exp(log_weights[root, k] - largest)
        for k in range(num_actions):
            log_weights[root, k] -= largest + math.log(total)
        action[root] = best


@_compiled()
def _choose_by_lag(
    nodes,
    best_edges,
    children,
    node_visits,
    q_values,
    prior_logits,
    raw_values,
    value_scale,
    max_visit_init,
):
    """Sets the best edges of nodes to those whose visits lag behind most."""
    num_actions = children.shape[1]
    probs = np.empty(num_actions)
    for node in nodes:
        low, scale = _complete_node(
            probs,
            node,
            children,
            node_visits,
            q_values,
            prior_logits,
            raw_values,
            value_scale,
            max_visit_init,
        )
        largest, num_visits = -math.inf, 0.0
        for k in range(num_actions):
            probs[k] = prior_logits[node, k] + scale * (probs[k] - low)
            largest = max(largest, probs[k])
            num_visits += node_visits[children[node, k]]
        total = 0.0
        for k in range(num_actions):
            probs[k] = math.exp(probs[k] - largest)
            total += probs[k]
        best, best_lag = 0, -math.inf
        for k in range(num_actions):
            lag = probs[k] / total - node_visits[children[node, k]] / (1.0 + num_visits)
            if lag > best_lag:
                best, best_lag = k, lag
        best_edges[node] = node * num_actions + best


@_compiled()
def choose_by_halving(
    edges,
    inner,
    noisy_logits,
    considered,
    best_edges,
    children,
    node_visits,
    q_values,
    prior_logits,
    raw_values,
    value_scale,
    max_visit_init,
):
    """Sets the best edges of nodes, and writes those of the roots."""
    _choose_by_lag(
        inner,
        best_edges,
        children,
        node_visits,
        q_values,
        prior_logits,
        raw_values,
        value_scale,
        max_visit_init,
    )
    _rank_roots(
        edges,
        noisy_logits,
        considered,
        children,
        node_visits,
        q_values,
        prior_logits,
        raw_values,
        value_scale,
        max_visit_init,
    )


@_compiled()
def choose_by_puct(
    nodes,
    best_edges,
    children,
    node_visits,
    q_values,
    node_values,
    prior_logits,
    pb_c_init,
    pb_c_base,
):
    """Sets the best edges of nodes to those of the largest PUCT score."""
    num_actions, sink = children.shape[1], len(children) - 1
    probs = np.empty(num_actions)
    for node in nodes:
        low = high = node_values[node]
        largest = prior_logits[node, 0]
        for k in range(num_actions):
            largest = max(largest, prior_logits[node, k])
            child = children[node, k]
            if child != sink:
                low, high = min(low, q_values[child]), max(high, q_values[child])
        total = 0.0
        for k in range(num_actions):
            probs[k] = math.exp(prior_logits[node, k] - largest)
            total += probs[k]
        visits = node_visits[node]
        weight = math.sqrt(visits) * (pb_c_init + math.log((visits + pb_c_base + 1.0) / pb_c_base))
        best, best_score = 0, -math.inf
        for k in range(num_actions):
            child = children[node, k]
            score = weight * (probs[k] / total) / (1.0 + node_visits[child])
            if child != sink:
                score += (q_values[child] - low) / max(high - low, SMALLEST_RANGE)
            if score > best_score:
                best, best_score = k, score
        best_edges[node] = node * num_actions + best


@_compiled()
def choose_by_prior(nodes, best_edges, prior_logits):
    """Sets the best edges of nodes to the most probable ones."""
    num_actions = prior_logits.shape[1]
    for node in nodes:
        best = 0
        for k in range(1, num_actions):
            if prior_logits[node, k] > prior_logits[node, best]:
                best = k
        best_edges[node] = node * num_actions + best
