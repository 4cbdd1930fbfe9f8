"""Tree search written plainly, one root and one node object at a time, to compare with."""

import math

import numpy as np


class TableModel:
    """States are numbers: everything about them and their actions is looked up."""

    def __init__(self, seed=0, num_states=64, num_actions=5, discount=0.97):
        generator = np.random.default_rng(seed)
        self.next_state = generator.integers(num_states, size=(num_states, num_actions))
        self.reward = generator.uniform(size=(num_states, num_actions))
        self.discount = np.where(generator.random((num_states, num_actions)) < 0.1, 0.0, discount)
        self.prior_logits = generator.normal(size=(num_states, num_actions))
        self.value = generator.normal(size=num_states)
        self.num_actions = num_actions

    def candidates(self, num_rows):
        """The number of an action is all there is to it."""
        return np.tile(np.arange(self.num_actions, dtype=float)[None, :, None], (num_rows, 1, 1))

    def expand(self, state, action):
        from actors.search.tree.tree import Expansion

        s, a = state[:, 0].astype(int), action[:, 0].astype(int)
        n = self.next_state[s, a]
        return Expansion(
            n[:, None].astype(float),
            np.zeros((len(s), 0), np.float32),
            self.reward[s, a],
            self.discount[s, a],
            self.candidates(len(s)),
            self.prior_logits[n],
            self.value[n],
        )


class SlowNode:
    """A node with everything it knows."""

    def __init__(self, state, logits, value):
        self.state, self.logits, self.raw, self.value = state, np.array(logits, float), value, value
        self.visits = 1
        self.children = {}  # action: [node, reward, discount, visits]

    def q(self, a):
        child, reward, discount, _ = self.children[a]
        return reward + discount * child.value

    def n(self, a):
        return self.children[a][3] if a in self.children else 0

    def probs(self):
        e = np.exp(self.logits - self.logits.max())
        return e / e.sum()


def slow_completed(node, scale=0.1, init=50.0):
    probs, total = node.probs(), sum(c[3] for c in node.children.values())
    mass = sum(probs[a] for a in node.children)
    mean = sum(probs[a] * node.q(a) for a in node.children) / mass if mass else 0.0
    mixed = (node.raw + total * mean) / (total + 1)
    q = np.array([node.q(a) if a in node.children else mixed for a in range(len(probs))])
    q = (q - q.min()) / max(q.max() - q.min(), 1e-8)
    most = max([c[3] for c in node.children.values()], default=0)
    return (init + most) * scale * q


def slow_gumbel_choice(node):
    logits = node.logits + slow_completed(node)
    e = np.exp(logits - logits.max())
    n = np.array([node.n(a) for a in range(len(e))])
    return int(np.argmax(e / e.sum() - n / (1 + n.sum())))


def slow_puct_scores(node, c1=1.25, c2=19652.0):
    probs = node.probs()
    known = [node.q(a) for a in node.children]
    low, high = min([node.value, *known]), max([node.value, *known])
    scores = []
    for a in range(len(probs)):
        value = (node.q(a) - low) / max(high - low, 1e-8) if a in node.children else 0.0
        weight = math.sqrt(node.visits) * (c1 + math.log((node.visits + c2 + 1) / c2))
        scores.append(value + weight * probs[a] / (1 + node.n(a)))
    return np.array(scores)


def slow_simulate(root, model, root_action, choose, max_depth=None):
    path, node, action = [], root, root_action
    while True:
        path.append((node, action))
        if action not in node.children or (max_depth is not None and len(path) == max_depth):
            break
        node = node.children[action][0]
        action = choose(node)
    s = node.state
    n = int(model.next_state[s, action])
    if action in node.children:
        leaf = node.children[action][0]
        leaf.raw = leaf.value = model.value[n]
        leaf.visits += 1
    else:
        leaf = SlowNode(n, model.prior_logits[n], model.value[n])
        node.children[action] = [leaf, model.reward[s, action], model.discount[s, action], 0]
    value = leaf.value
    for node, action in reversed(path):
        edge = node.children[action]
        value = edge[1] + edge[2] * value
        node.value = (node.value * node.visits + value) / (node.visits + 1)
        node.visits += 1
        edge[3] += 1


def slow_considered(m, n):
    if m <= 1:
        return list(range(n))
    rounds, visits, left, out = math.ceil(math.log2(m)), [0] * m, m, []
    while len(out) < n:
        for _ in range(max(1, int(n / (rounds * left)))):
            for i in range(left):
                out.append(visits[i])
                visits[i] += 1
        left = max(2, left // 2)
    return out[:n]


def slow_gumbel(model, state, gumbel, invalid, num_simulations, max_considered=16, max_depth=None):
    """One root; returns it, the action and the improved policy."""
    logits = model.prior_logits[state] - model.prior_logits[state].max()
    logits = np.where(invalid, np.finfo(np.float32).min, logits)
    root = SlowNode(state, logits, model.value[state])
    plan = slow_considered(min(max_considered, int((~invalid).sum())), num_simulations)

    def best(count):
        shifted = root.logits - root.logits.max()
        scores = np.maximum(-1e9, gumbel + shifted + slow_completed(root))
        allowed = [root.n(a) == count and not invalid[a] for a in range(len(scores))]
        return int(np.argmax(np.where(allowed, scores, -np.inf)))

    for t in range(num_simulations):
        slow_simulate(root, model, best(plan[t]), slow_gumbel_choice, max_depth)
    logits = np.where(invalid, -np.inf, root.logits + slow_completed(root))
    weights = np.exp(logits - logits.max())
    action = best(max(root.n(a) for a in range(len(weights))))
    return root, action, weights / weights.sum()


def slow_muzero(model, state, invalid, num_simulations, max_depth=None):
    """One root; returns it, the action and the improved policy."""
    logits = model.prior_logits[state] - model.prior_logits[state].max()
    root = SlowNode(state, np.where(invalid, np.finfo(np.float32).min, logits), model.value[state])

    def choose(node):
        return int(np.argmax(slow_puct_scores(node)))

    for _ in range(num_simulations):
        action = int(np.argmax(np.where(invalid, -np.inf, slow_puct_scores(root))))
        slow_simulate(root, model, action, choose, max_depth)
    visits = np.array([root.n(a) for a in range(len(logits))], float)
    return root, int(visits.argmax()), visits / visits.sum()
