"""The engine of the native simulator: batches, isolation, masks, counters, errors."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction, TransformAction
from live_envs import flat_observation, make_live, make_rewarded, physics_of, random_actions

from actors.simulators.dm_control_locomotion import CheetahTask, HopperTask
from actors.simulators.mujoco import MujocoSimulator
from actors.simulators.task import PhysicsBatch


class FallingHopper(HopperTask):
    """A hopper that terminates below a torso height, with the control cost of a previous-state reward."""

    def terminated(self, physics: PhysicsBatch) -> np.ndarray:
        return ~(physics.qpos[..., 1] >= -0.05)  # written so that a NaN counts as fallen

    def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
        return 1.0 + physics.qpos[..., 1] - previous.qpos[..., 1]


def hopper_simulator(action_repeat: int = 1) -> tuple[gym.Env, MujocoSimulator]:
    env = make_rewarded("hopper-stand", action_repeat)
    return env, MujocoSimulator(env, FallingHopper(env.unwrapped._env))


def rows(state: np.ndarray, number: int) -> np.ndarray:
    return np.repeat(state[None], number, axis=0)


def test_batch_rows_are_independent() -> None:
    """A batch of different states and plans gives what each row gives alone."""
    env = make_live("walker-walk")
    simulator = MujocoSimulator(env)
    states, plans = [], random_actions(env, (5, 6), seed=4)
    for action in random_actions(env, (5,)):
        env.step(action)
        states.append(simulator.snapshot(env))
    batch = simulator.rollout(np.stack(states), plans)
    for row, state in enumerate(states):
        alone = simulator.rollout(state[None], plans[row : row + 1])
        np.testing.assert_array_equal(alone.state[0], batch.state[row])
        np.testing.assert_array_equal(alone.reward[0], batch.reward[row])
        np.testing.assert_array_equal(alone.observation[0], batch.observation[row])


def test_batch_holds_different_reacher_targets() -> None:
    """Two episodes with different targets in one batch keep their own targets."""
    envs = [make_live("reacher-easy", seed=seed) for seed in (1, 2)]
    for env in envs:
        physics = physics_of(env)
        physics.named.model.geom_pos["target", :2] = physics.named.data.geom_xpos["finger", :2] + 0.02
        physics.forward()
    simulator = MujocoSimulator(envs[0])
    states = np.stack([simulator.snapshot(env) for env in envs])
    assert not np.array_equal(states[0, -3:-1], states[1, -3:-1])
    plans = 0.3 * random_actions(envs[0], (2, 8))
    rollout = simulator.rollout(states, plans)
    for row, env in enumerate(envs):
        rewards = [env.step(action)[1] for action in plans[row]]
        np.testing.assert_array_equal(rollout.reward[row], rewards)
        assert np.mean(rewards) > 0.2
        np.testing.assert_allclose(rollout.observation[row], flat_observation(env), rtol=1e-6, atol=1e-6)


def test_snapshot_and_rollouts_leave_the_environment_alone() -> None:
    """An episode with a rollout before every step equals the same episode without."""
    watched, plain = make_live("walker-walk"), make_live("walker-walk")
    simulator = MujocoSimulator(watched)
    for action in random_actions(watched, (10,)):
        simulator.rollout(rows(simulator.snapshot(watched), 3), random_actions(watched, (3, 4)))
        assert watched.step(action)[1] == plain.step(action)[1]
    np.testing.assert_array_equal(physics_of(watched).get_state(), physics_of(plain).get_state())


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.parametrize("action_repeat", [1, 2])
def test_diverging_rows_are_nan_and_alone(is_closed: bool, action_repeat: int) -> None:
    """NaN states, NaN actions and exploding physics give NaN in their own row, from their own step on."""
    env = make_rewarded("walker-walk", action_repeat)
    simulator = MujocoSimulator(env)
    states = rows(simulator.snapshot(env), 5)
    plans = np.repeat(random_actions(env, (1, 6)), 5, axis=0)
    states[1, 2] = np.nan  # a position
    plans[2, 3, 0] = np.nan  # an action of the fourth step
    states[3, 12] = 1e12  # a velocity
    actions = (lambda step, observation: plans[:, step]) if is_closed else plans
    rollout = simulator.rollout(states, actions, 6)
    expected = simulator.rollout(states[:1], actions=plans[:1])
    assert np.isnan(rollout.reward[1]).all()
    assert np.isnan(rollout.reward[3]).all()
    np.testing.assert_array_equal(np.isnan(rollout.reward[2]), [False] * 3 + [True] * 3)
    for row in (1, 2, 3):
        assert np.isnan(rollout.observation[row]).all()
    for row in (0, 4):
        np.testing.assert_allclose(rollout.reward[row], expected.reward[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(rollout.state[row], rollout.state[0], rtol=0, atol=1e-9)
        assert np.isfinite(rollout.observation[row]).all()
    np.testing.assert_allclose(rollout.reward[2, :3], expected.reward[0, :3], rtol=0, atol=1e-9)


def test_nan_stays_nan_and_never_enters_mujoco(caplog: pytest.LogCaptureFixture) -> None:
    """The state a diverged row returns diverges again; NaN states and actions give no warning of MuJoCo's."""
    env = make_live("cheetah-run")
    simulator = MujocoSimulator(env)
    states = rows(simulator.snapshot(env), 2)
    states[0, 3] = np.nan
    first = simulator.step(states, random_actions(env, (2,)))
    actions = random_actions(env, (2, 2))
    second = simulator.step(first.state, actions[0])
    actions[0, 1] = np.nan
    third = simulator.step(second.state, actions[0])
    assert np.isnan(third.reward).all()
    assert "unstable" not in caplog.text
    assert np.isnan(second.reward[0]) and np.isnan(second.observation[0]).all()
    assert np.isfinite(second.reward[1]) and np.isfinite(second.observation[1]).all()


@pytest.mark.parametrize("action_repeat", [1, 3])
def test_nothing_is_earned_after_termination(action_repeat: int) -> None:
    """Rewards stop inside the step that terminates, as a repeat wrapper does; later ones are 0."""
    env, simulator = hopper_simulator(action_repeat)
    num_steps = 60 // action_repeat
    plan = random_actions(env, (1, num_steps))
    rollout = simulator.rollout(simulator.snapshot(env)[None], plan)
    single = env.env if action_repeat > 1 else env  # steps once, without the repeat
    heights, rewards = [physics_of(env).data.qpos[1]], []
    for action in plan[0]:
        rewards.append(0.0)
        for _ in range(action_repeat):
            single.step(action)
            heights.append(physics_of(env).data.qpos[1])
            if min(heights[1:-1], default=0.0) >= -0.05:
                rewards[-1] += 1.0 + heights[-1] - heights[-2]
    fallen = int(np.argmax(np.array(heights) < -0.05)) - 1  # control step that ended below
    assert 0 < fallen < num_steps * action_repeat - 1
    np.testing.assert_allclose(rollout.reward[0], rewards, rtol=0, atol=1e-12)
    ends = np.arange(1, num_steps + 1) * action_repeat - 1
    np.testing.assert_array_equal(rollout.discount[0], (ends < fallen).astype(float))
    assert np.isfinite(rollout.observation).all()


def test_termination_agrees_in_closed_loop() -> None:
    """Rewards and discounts around a termination do not depend on how the actions were given."""
    env, simulator = hopper_simulator(2)
    state, plan = simulator.snapshot(env)[None], random_actions(env, (1, 30))
    open_loop = simulator.rollout(state, plan)
    closed_loop = simulator.rollout(state, lambda step, observation: plan[:, step], 30)
    assert open_loop.discount[0, -1] == 0.0
    np.testing.assert_array_equal(closed_loop.discount, open_loop.discount)
    np.testing.assert_allclose(closed_loop.reward, open_loop.reward, rtol=0, atol=1e-9)


def test_silent_reset_of_exploding_physics_is_seen() -> None:
    """MuJoCo resets exploding data by default; at time zero this would pass for an ordinary first step."""
    env = make_live("cheetah-run")
    simulator = MujocoSimulator(env)
    states = rows(simulator.snapshot(env), 2)
    states[:, 0] = 0.0  # the clock
    states[1, 12] = 1e12  # a velocity
    result = simulator.step(states, random_actions(env, (2,)))
    np.testing.assert_array_equal(np.isnan(result.reward), [False, True])


def test_divergence_is_no_termination_and_termination_comes_first() -> None:
    """A diverged row never counts as ended; one that ended before it diverged stays at zero, not NaN."""
    env, simulator = hopper_simulator()
    states, plans = rows(simulator.snapshot(env), 3), np.repeat(random_actions(env, (1, 60)), 3, axis=0)
    plans[1, 2] = np.nan
    plans[2, -1] = np.nan
    rollout = simulator.rollout(states, plans)
    assert rollout.discount[0, -1] == 0.0
    assert np.isnan(rollout.reward[1, 2:]).all() and (rollout.discount[1] == 1.0).all()
    np.testing.assert_array_equal(rollout.reward[2], rollout.reward[0])
    np.testing.assert_array_equal(rollout.discount[2], rollout.discount[0])
    assert np.isfinite(rollout.observation[2]).all()


@pytest.mark.parametrize("name", ["cheetah-run", "hopper-stand"])
def test_steps_equal_a_closed_loop_rollout(name: str) -> None:
    """Stepping one by one gives the closed-loop rollout, force sensors of the last step included."""
    env = make_rewarded(name, action_repeat=2)
    simulator = MujocoSimulator(env)
    state, plan = rows(simulator.snapshot(env), 3), random_actions(env, (3, 5))
    rollout = simulator.rollout(state, lambda step, observation: plan[:, step], 5)
    for step in range(5):
        result = simulator.step(state, plan[:, step])
        state = result.state
        np.testing.assert_array_equal(result.reward, rollout.reward[:, step])
    np.testing.assert_array_equal(state, rollout.state)
    np.testing.assert_array_equal(result.observation, rollout.observation)


def test_threads_do_not_change_results() -> None:
    """Two threads give the numbers of one."""
    env = make_live("walker-walk")
    one, two = MujocoSimulator(env), MujocoSimulator(env, num_threads=2)
    state, plan = rows(one.snapshot(env), 16), random_actions(env, (16, 4))
    np.testing.assert_array_equal(one.rollout(state, plan).state, two.rollout(state, plan).state)
    np.testing.assert_array_equal(one.rollout(state, plan).reward, two.rollout(state, plan).reward)


def test_buffers_of_other_sizes_do_not_leak() -> None:
    """A result is not touched by later rollouts of larger and smaller batches."""
    env = make_live("cheetah-run")
    simulator = MujocoSimulator(env)
    state, plan = rows(simulator.snapshot(env), 8), random_actions(env, (8, 6))
    first = simulator.rollout(state, plan)
    kept = first.state.copy(), first.reward.copy(), first.observation.copy()
    simulator.rollout(rows(state[0], 20), random_actions(env, (20, 9), seed=5))
    again = simulator.rollout(state, plan)
    for array, copy, repeated in zip(
        (first.state, first.reward, first.observation),
        kept,
        (again.state, again.reward, again.observation),
        strict=True,
    ):
        np.testing.assert_array_equal(array, copy)
        np.testing.assert_array_equal(array, repeated)


def test_sizes_times_and_counter() -> None:
    """Sizes, the control timestep and the step counter follow the environment and its action repeat."""
    env = make_live("walker-walk", action_repeat=2)
    simulator = MujocoSimulator(env)
    assert simulator.observation_size == 24 and simulator.action_size == 6
    assert simulator.control_timestep_sec == pytest.approx(0.05)
    assert "WalkerTask" in simulator.description
    state = rows(simulator.snapshot(env), 3)
    simulator.rollout(state, random_actions(env, (3, 4)))
    simulator.step(state, random_actions(env, (3,)))
    assert simulator.num_steps == 3 * 4 * 2 + 3 * 1 * 2


def test_action_wrappers_are_reproduced() -> None:
    """Rescaling from another range reaches the controls as the live wrapper rescales, bit for bit."""
    env = RescaleAction(make_live("cheetah-run"), np.float32(-0.3), np.float32(0.7))
    simulator = MujocoSimulator(env)
    plan = np.random.default_rng(0).uniform(-0.3, 0.7, (1, 10, 6)).astype(np.float32)
    rollout = simulator.rollout(simulator.snapshot(env)[None], plan)
    rewards = [env.step(action)[1] for action in plan[0]]
    np.testing.assert_array_equal(rollout.reward[0], rewards)


def test_action_wrapper_that_mixes_rows_is_refused() -> None:
    """A wrapper that is no elementwise map cannot be applied to a batch, and says so."""
    env = make_live("cheetah-run")
    mixing = TransformAction(env, lambda action: action - action.mean(), env.action_space)
    with pytest.raises(ValueError, match=r"elementwise.*TransformAction"):
        MujocoSimulator(mixing)


def test_environment_without_task_is_refused() -> None:
    """An environment without a vectorised task gives one clear line."""
    with pytest.raises(ValueError, match="vectorised MuJoCo task"):
        MujocoSimulator(gym.make("Pendulum-v1"))


def test_wrong_shapes_are_named() -> None:
    """Wrong states, actions and step numbers are errors that name the argument."""
    env = make_live("cheetah-run")
    simulator = MujocoSimulator(env)
    state, plan = rows(simulator.snapshot(env), 2), random_actions(env, (2, 3))
    with pytest.raises(ValueError, match="`state` must have shape"):
        simulator.rollout(state[:, 1:], plan)
    with pytest.raises(ValueError, match="`actions` must have shape"):
        simulator.rollout(state, plan[..., :5])
    with pytest.raises(ValueError, match="`actions` must have shape"):
        simulator.rollout(state, plan, 4)
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got None"):
        simulator.rollout(state, lambda step, observation: plan[:, step])
    with pytest.raises(ValueError, match="`action` must have shape"):
        simulator.step(state, plan[:, 0, :2])
    with pytest.raises(ValueError, match="`num_threads` must be at least 1, got 0"):
        MujocoSimulator(env, num_threads=0)


def test_task_given_by_hand_is_used() -> None:
    """A task passed to the simulator takes the place of the registered one."""

    class BackwardCheetah(CheetahTask):
        def reward(self, physics: PhysicsBatch, previous: PhysicsBatch, control: np.ndarray) -> np.ndarray:
            return -physics.state_sensors["torso_subtreelinvel"][..., 0]

    env = make_rewarded("cheetah-run")
    simulator = MujocoSimulator(env, BackwardCheetah(env.unwrapped._env))
    plan = random_actions(env, (1, 4))
    rewards = simulator.rollout(simulator.snapshot(env)[None], plan).reward[0]
    speeds = []
    for action in plan[0]:
        env.step(action)
        speeds.append(physics_of(env).speed())
    np.testing.assert_array_equal(rewards, -np.array(speeds))
