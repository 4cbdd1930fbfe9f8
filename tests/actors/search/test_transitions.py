import dataclasses

import numpy as np
from toy_simulator import LinearPolicy, PointMassSimulator

from actors.search.rollouts import roll_out_policy
from actors.search.transitions import draw_transitions

STATES = np.array([[0.5, -0.25], [0.1, 0.3], [0.8, 0.0]])
DISCOUNT = 0.9
NUM_STEPS = 6


def _draw(num_transitions=400, seed=0, value=None, **simulator_settings):
    """Stretches of three rollouts of each state: the policy's own, one sample, one held for two steps."""
    simulator, policy = PointMassSimulator(2, **simulator_settings), LinearPolicy()
    states = np.repeat(STATES, 3, axis=0)
    first_action = np.tile([[0.0, 0.0], [0.5, 0.5], [0.9, -0.4]], (3, 1)).astype(np.float32)
    first_action[::3] = -STATES
    noise = np.zeros((9, 1, 2), np.float32)
    noise[2::3] = 0.3
    generator = np.random.default_rng(seed)
    rollouts = roll_out_policy(
        simulator, states, first_action, noise, policy, generator, num_steps=NUM_STEPS, hold_steps=2,
        discount=DISCOUNT,
    )  # fmt: skip
    value = np.full(3, 7.0) if value is None else value
    first_policy_step = np.array([0, 1, 2])
    return draw_transitions(rollouts, first_policy_step, value, num_transitions, DISCOUNT, generator)


def _follow(position, limit):
    """Rewards, and the position at the end, of the policy `a = -x` in plain Python, step by step."""
    positions, rewards = [position], []
    for _ in range(NUM_STEPS):
        position = position + 0.1 * np.clip(-position, -1.0, 1.0)
        positions.append(position)
        rewards.append(-np.square(position).sum())
        if np.abs(position).max() > limit:
            break
    return positions, rewards


def test_every_stretch_follows_the_policy():
    """Reward and end of each stretch are those of the policy alone, over the steps its discount tells."""
    drawn = _draw()
    lengths = np.round(np.log(drawn.discount) / np.log(DISCOUNT)).astype(int)
    for index in np.ndindex(drawn.reward.shape):
        positions, rewards = _follow(drawn.observation[index].astype(np.float64), np.inf)
        length = lengths[index]
        np.testing.assert_allclose(drawn.next_observation[index], positions[length], atol=1e-5)
        expected = sum(DISCOUNT**step * reward for step, reward in enumerate(rewards[:length]))
        np.testing.assert_allclose(drawn.reward[index], expected, atol=1e-5)


def test_starts_are_uniform_over_the_steps_the_policy_takes():
    """The root stands first; the others are 6 + 5 + 4 starts, each as likely."""
    drawn = _draw(num_transitions=3001)
    np.testing.assert_array_equal(drawn.observation[:, 0], STATES.astype(np.float32))
    np.testing.assert_allclose(drawn.discount[:, 0], DISCOUNT**NUM_STEPS, rtol=1e-6)
    starts, counts = np.unique(drawn.observation[0, 1:].round(5), axis=0, return_counts=True)
    assert len(starts) == 15
    assert np.abs(counts - 200).max() < 5 * np.sqrt(200)


def test_termination_ends_a_stretch():
    """What terminates is not bootstrapped, and no stretch starts after it."""
    drawn = _draw(limit=0.85)  # the held candidate of the third state leaves at once
    ended = drawn.discount == 0.0
    assert ended[2].any() and not ended[:2].any()
    # Its stretches are replaced by the root with the value given.
    np.testing.assert_array_equal(drawn.reward[ended], 7.0)
    np.testing.assert_array_equal(drawn.observation[ended], np.tile(STATES[2], (ended.sum(), 1)).astype("f4"))


def test_divergence_is_replaced_by_the_root():
    """Stretches that diverge give way to the root with its known value; all stays finite."""
    drawn = _draw(poison=0.85)
    for field in dataclasses.fields(drawn):
        assert np.isfinite(getattr(drawn, field.name)).all()
    assert (drawn.reward[2] == 7.0).any() and not (drawn.reward[:2] == 7.0).any()


def test_same_seed_gives_the_same_draw():
    """A seed settles which stretches are drawn."""
    np.testing.assert_array_equal(_draw(9, 3).observation, _draw(9, 3).observation)
    assert (_draw(9, 3).observation != _draw(9, 4).observation).any()
