"""Returns of rollouts that follow the policy, against loops in plain Python."""

import numpy as np
from toy_simulator import STEP, LinearPolicy, PointMassSimulator

from actors.search.rollouts import discounted_returns, roll_out_policy


def test_rollout_returns_are_exact():
    """Batched returns equal the recursion of one trajectory in plain floats, bit for bit."""
    generator = np.random.default_rng(0)
    states = generator.uniform(-1.0, 1.0, (6, 2))
    first_action = generator.uniform(-1.0, 1.0, (6, 2)).astype(np.float32)
    noise = generator.standard_normal((6, 2, 2)).astype(np.float32)
    simulator, policy = PointMassSimulator(2, limit=0.9), LinearPolicy()
    returns = roll_out_policy(
        simulator, states, first_action, noise, policy, generator, num_steps=5, hold_steps=2, discount=0.9
    ).returns
    for row in range(6):
        position, rewards, is_over = states[row], [], False
        for step in range(5):
            action = policy.act(position.astype(np.float32)[None], 0.0, generator)[0]
            if step == 0:
                action = first_action[row]
            elif step < 4:
                action = np.clip(action + noise[row, step // 2], -1.0, 1.0)
            position = position + STEP * action.astype(np.float64)
            rewards.append(-np.square(position).sum())
            is_over = bool(np.abs(position).max() > 0.9)
            if is_over:
                break
        total = 0.0 if is_over else float(policy.value(position.astype(np.float32)[None])[0])
        for reward in reversed(rewards):
            total = reward + 0.9 * total
        assert returns[row] == total


def test_termination_ends_the_return_and_a_time_limit_does_not_exist():
    """A terminated rollout counts its last reward and no value; any other is bootstrapped."""
    settings = dict(num_steps=3, hold_steps=1, discount=0.5)
    outward, no_noise = np.ones((2, 1), np.float32), np.zeros((2, 1, 1), np.float32)
    policy = LinearPolicy(gain=0.0, weight=100.0)
    returns = roll_out_policy(
        PointMassSimulator(1, limit=1.0),
        np.array([[0.95], [0.0]]),
        outward,
        no_noise,
        policy,
        np.random.default_rng(0),
        **settings,
    ).returns
    np.testing.assert_allclose(returns, [-(1.05**2), -0.01 * 1.75 - 0.125 * 1.0], rtol=1e-6)


def test_divergence_after_a_termination_does_not_matter():
    """Once terminated, a rollout has its return, whatever the simulation does afterwards."""
    returns = roll_out_policy(
        PointMassSimulator(1, limit=0.55, poison=0.75),
        np.array([[0.5]]),
        np.ones((1, 1), np.float32),
        np.zeros((1, 1, 1), np.float32),
        LinearPolicy(gain=-5.0),
        np.random.default_rng(0),
        num_steps=4,
        hold_steps=1,
        discount=0.5,
    ).returns
    np.testing.assert_allclose(returns, [-0.36])


def test_discounted_returns_by_hand():
    """`1 + .5 (2 + .5 * 8) = 4`; a step that terminates cuts off what follows."""
    returns = discounted_returns(
        np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]),
        np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]),
        np.array([8.0, 8.0, 8.0]),
        0.5,
    )
    np.testing.assert_array_equal(returns, [[4.0, 6.0], [2.0, 2.0], [1.0, 2.0]])
