import numpy as np
import pytest

from actors.simulators.latent import LatentSimulator
from actors.stepping import search_states
from distill_rl.envs import make_env


class Counter:
    """The state counts steps by the action; below zero the episode ends."""

    latent_size, action_size = 2, 1

    def encode(self, observation):
        return np.repeat(observation[:, :1], 2, axis=1)

    def step(self, latent, action):
        after = latent + action
        return after, after[:, 0].astype(np.float64), (after[:, 0] >= 0.0).astype(np.float64)


@pytest.fixture(scope="module")
def env():
    env = make_env("dm_control/pendulum-swingup-v0", action_repeat=2)
    yield env
    env.close()


def test_rollouts_follow_plans_and_functions(env):
    """Both loops agree, and nothing is rewarded after an end."""
    simulator = LatentSimulator(Counter(), env)
    state = simulator.encode(np.array([[1.0], [0.2]], np.float32))
    plan = np.array([[[0.5], [-2.0], [1.0]], [[0.1], [0.1], [0.1]]], np.float32)
    seen = []

    def action_fn(step, observation):
        seen.append(observation)
        return plan[:, step]

    open_loop, closed_loop = simulator.rollout(state, plan), simulator.rollout(state, action_fn, 3)
    np.testing.assert_allclose(open_loop.reward, [[1.5, -0.5, 0.0], [0.3, 0.4, 0.5]], rtol=1e-6)
    np.testing.assert_array_equal(open_loop.discount, [[1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(open_loop.reward, closed_loop.reward)
    np.testing.assert_array_equal(open_loop.state, closed_loop.observation)
    np.testing.assert_array_equal(seen[0], state)
    assert simulator.num_steps == 12 and simulator.control_timestep_sec == pytest.approx(0.04)


def test_states_come_from_observations(env):
    """A search is called with latent states twice; there are no snapshots."""
    simulator = LatentSimulator(Counter(), env)
    observation, state = search_states(simulator, [env], np.array([[3.0]], np.float32))
    np.testing.assert_array_equal(observation, [[3.0, 3.0]])
    assert state is observation
    with pytest.raises(NotImplementedError, match="`encode` observations"):
        simulator.snapshot(env)


def test_wrong_shapes_are_refused(env):
    """The argument is named."""
    simulator, state = LatentSimulator(Counter(), env), np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="`state` must have shape"):
        simulator.step(np.zeros((2, 3), np.float32), np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="`actions` must have shape"):
        simulator.rollout(state, np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got None"):
        simulator.rollout(state, lambda step, observation: observation)
