"""What data copies and deep copies share, and what each copies: isolation, ends, divergence, errors."""

import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import EzPickle

from actors.simulators import DataCopySimulator, DeepcopySimulator, make_simulator
from actors.simulators.row_simulator import RowSimulator
from distill_rl.envs import make_env

EITHER = ["Ant-v5", "dm_control/fish-swim-v0", "Pendulum-v1"]


class WalkEnv(gym.Env, EzPickle):
    """A noisy walk on a line that rewards its steps' count, ends above 1 and cuts itself off below -1."""

    def __init__(self, noise: float = 0.0, start: float = 0.0):
        EzPickle.__init__(self, noise, start)
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.noise, self.start, self.position = noise, start, np.zeros(1)
        self.visited: list[float] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.position, self.visited = np.full(1, self.start), []
        return self.position, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert -1 <= self.position[0] <= 1, "stepped after the end"
        self.position += action + self.noise * self.np_random.standard_normal(1)
        self.visited.append(float(self.position[0]))
        return (
            self.position,
            float(len(self.visited)),
            bool(self.position[0] > 1),
            bool(self.position[0] < -1),
            {},
        )


def make_live(env: Any, seed: int = 0, num_steps: int = 2, **settings: Any) -> gym.Env:
    """Returns a live environment a few steps into an episode."""
    live = make_env(env, **settings)
    live.reset(seed=seed)
    for action in random_actions(live, (num_steps,), seed):
        live.step(0.1 * action)
    return live


def random_actions(env: gym.Env, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns uniform actions `[*shape, A]`, float32."""
    size = env.action_space.shape[0]
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, size)).astype(np.float32)


def rows(simulator: RowSimulator, env: gym.Env, number: int) -> np.ndarray:
    """Returns copies of the live state. Shape `[number]`."""
    return np.repeat(simulator.snapshot(env)[None], number)


def walk(actions: list[float], **settings: Any) -> tuple[Any, DeepcopySimulator]:
    """Rolls the walk out from its start under the given actions."""
    env = make_live(WalkEnv, num_steps=0, env_config=settings)
    simulator = DeepcopySimulator(env)
    plan = np.array(actions, np.float32)[None, :, None]
    return simulator.rollout(rows(simulator, env, 1), plan), simulator


@pytest.mark.parametrize("env_id", EITHER)
def test_snapshots_and_rollouts_leave_the_environment_alone(env_id: str) -> None:
    """An episode with a rollout before every step equals the same episode without."""
    watched, plain = make_live(env_id), make_live(env_id)
    simulator = make_simulator(watched)
    plans = random_actions(plain, (2, 3), seed=7)
    for action in random_actions(plain, (5,), seed=8):
        simulator.rollout(rows(simulator, watched, 2), plans)
        for value, expected in zip(watched.step(action)[:4], plain.step(action)[:4], strict=True):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("env_id", EITHER)
def test_rows_are_independent(env_id: str) -> None:
    """A batch of different states and plans, stepped or rolled out, gives what each row gives alone."""
    env = make_live(env_id)
    simulator = make_simulator(env)
    states, plans = [], random_actions(env, (3, 4), seed=4)
    for action in random_actions(env, (3,)):
        env.step(action)
        states.append(simulator.snapshot(env))
    batch = simulator.rollout(np.stack(states), plans)
    closed = simulator.rollout(np.stack(states), lambda step, observation: plans[:, step], 4)
    for row, state in enumerate(states):
        alone = simulator.rollout(state[None], plans[row : row + 1])
        for result in (batch, closed):
            np.testing.assert_array_equal(alone.reward[0], result.reward[row])
            np.testing.assert_array_equal(alone.observation[0], result.observation[row])


@pytest.mark.parametrize("env_id", EITHER)
def test_a_state_can_be_branched_and_kept(env_id: str) -> None:
    """Stepping a state many times never changes it, nor do later rollouts change what came of it."""
    env = make_live(env_id)
    simulator = make_simulator(env)
    state, actions = rows(simulator, env, 1), random_actions(env, (4,), seed=5)
    first = simulator.step(state, actions[:1])
    then = simulator.step(first.state, actions[1:2])
    for _ in range(3):  # states that are dropped, so that their memory is used again
        simulator.rollout(np.repeat(state, 5), random_actions(env, (5, 3), seed=6))
    np.testing.assert_array_equal(simulator.step(state, actions[:1]).observation, first.observation)
    again = simulator.step(first.state, actions[1:2])
    np.testing.assert_array_equal(again.observation, then.observation)
    np.testing.assert_array_equal(again.reward, then.reward)


@pytest.mark.parametrize("env_id", EITHER)
def test_rollouts_look_beyond_time_limits(env_id: str) -> None:
    """The time limit of the live environment neither ends nor resets a simulated trajectory."""
    is_suite = env_id.startswith("dm_control")
    limit = {"task_kwargs": {"time_limit": 0.12}} if is_suite else {"max_episode_steps": 3}
    short, free = make_live(env_id, env_config=limit), make_live(env_id)
    simulator = make_simulator(short)
    plan = random_actions(free, (1, 8))
    rollout = simulator.rollout(rows(simulator, short, 1), plan)
    np.testing.assert_array_equal(rollout.reward[0], [free.step(action)[1] for action in plan[0]])
    np.testing.assert_array_equal(rollout.discount, 1.0)
    ends = [short.step(action)[3] for action in plan[0][:6]]
    assert any(ends)  # the live one is still limited


def test_first_closed_loop_observation_is_the_live_one() -> None:
    """The function of a closed loop sees the live observation first, then those of its own steps."""
    env = make_live("Pendulum-v1")
    simulator = make_simulator(env)
    seen, plan = [], random_actions(env, (3,))

    def action_fn(step: int, observation: np.ndarray) -> np.ndarray:
        seen.append(observation[0])
        return plan[step : step + 1]

    last = env.get_wrapper_attr("last_observation").copy()
    rollout = simulator.rollout(rows(simulator, env, 1), action_fn, 3)
    live = [last] + [env.step(action)[0] for action in plan]
    np.testing.assert_array_equal(np.stack([*seen, rollout.observation[0]]), np.stack(live))


@pytest.mark.parametrize(
    ("env_id", "field"),
    [
        ("dm_control/fish-swim-v0", "geom_pos"),
        ("dm_control/manipulator-bring_ball-v0", "body_pos"),
    ],
)
def test_edits_of_the_model_travel_with_the_state(env_id: str, field: str) -> None:
    """Targets that each episode places in its model stay with the states of the episode."""
    envs = [make_live(env_id, seed=seed) for seed in (1, 2)]
    models = [env.unwrapped.physics.model.ptr for env in envs]
    assert not np.array_equal(getattr(models[0], field), getattr(models[1], field))
    simulator = make_simulator(make_live(env_id, seed=3))
    state = np.stack([simulator.snapshot(env) for env in envs])
    plans = random_actions(envs[0], (2, 3))
    rollout = simulator.rollout(state[[0, 1, 0]], plans[[0, 1, 0]])
    for row, env in enumerate(envs):
        np.testing.assert_array_equal(rollout.reward[row], [env.step(action)[1] for action in plans[row]])
        np.testing.assert_array_equal(rollout.observation[row], env.get_wrapper_attr("last_observation"))
    np.testing.assert_array_equal(rollout.reward[2], rollout.reward[0])


def test_edits_of_the_physics_options_travel_with_the_state() -> None:
    """Gravity and solver options too: each state keeps those of the environment it came from."""
    envs = [make_live("Ant-v5"), make_live("Ant-v5")]
    simulator = make_simulator(envs[0])
    options = envs[1].unwrapped.model.opt
    options.gravity[2], options.iterations = -1.0, 2
    state = np.stack([simulator.snapshot(env) for env in envs])
    plans = random_actions(envs[0], (2, 5))
    rollout = simulator.rollout(state[[0, 1, 0]], plans[[0, 1, 0]])
    for row, env in enumerate(envs):
        np.testing.assert_array_equal(rollout.reward[row], [env.step(action)[1] for action in plans[row]])
    np.testing.assert_array_equal(rollout.reward[2], rollout.reward[0])


def test_attributes_travel_with_the_state() -> None:
    """Python attributes that a task changes step by step belong to the state."""

    class Countdown(gym.envs.mujoco.hopper_v5.HopperEnv):
        left = 5
        log: list[int] = []

        def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict]:
            observation, _, _, truncated, info = super().step(action)
            self.left -= 1
            self.log = [*self.log, self.left]
            return observation, sum(self.log), self.left == 0, truncated, info

    env = make_live(Countdown, num_steps=1)
    simulator = DataCopySimulator(env)
    state = rows(simulator, env, 2)
    for _ in range(2):
        rollout = simulator.rollout(state, random_actions(env, (2, 5)))
        np.testing.assert_array_equal(rollout.reward[1], [4 + 3, 4 + 3 + 2, 4 + 3 + 2 + 1, 10, 0])
        np.testing.assert_array_equal(rollout.discount[1], [1, 1, 1, 0, 0])
    assert env.unwrapped.left == 4 and env.unwrapped.log == [4]


def test_terminated_rows_stay_where_they_are() -> None:
    """After the step that terminates, rewards and discounts are 0 and the observation is its last one."""
    rollout, simulator = walk([0.5, 1.0, -1.0, 0.3])
    np.testing.assert_array_equal(rollout.reward, [[1, 2, 0, 0]])
    np.testing.assert_array_equal(rollout.discount, [[1, 0, 0, 0]])
    np.testing.assert_array_equal(rollout.observation, [[1.5]])
    further = simulator.step(rollout.state, np.ones((1, 1), np.float32))
    assert (further.reward[0], further.discount[0], further.observation[0, 0]) == (0.0, 0.0, 1.5)


def test_rows_that_cut_themselves_off_keep_their_discount() -> None:
    """An environment's own truncation ends its rewards but is no termination: the discount stays 1."""
    rollout, _ = walk([-0.5, -1.0, 1.0])
    np.testing.assert_array_equal(rollout.reward, [[1, 2, 0]])
    np.testing.assert_array_equal(rollout.discount, 1.0)
    np.testing.assert_array_equal(rollout.observation, [[-1.5]])


def test_actions_that_are_not_finite_lose_their_row() -> None:
    """A NaN action gives NaN from there on, in its own row only, and raises nothing."""
    env = make_live(WalkEnv, num_steps=0)
    simulator = DeepcopySimulator(env)
    plans = np.full((2, 3, 1), 0.1, np.float32)
    plans[0, 1] = np.nan
    rollout = simulator.rollout(rows(simulator, env, 2), plans)
    np.testing.assert_array_equal(rollout.reward, [[1, np.nan, np.nan], [1, 2, 3]])
    np.testing.assert_array_equal(np.isnan(rollout.observation), [[True], [False]])
    further = simulator.step(rollout.state, plans[:, 0])
    np.testing.assert_array_equal(further.reward, [np.nan, 4])


@pytest.mark.parametrize("env_id", ["Ant-v5", "dm_control/quadruped-walk-v0"])
def test_diverging_physics_loses_its_row(env_id: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Physics that blows up gives NaN in its own row, raises nothing and harms no later rollout."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file in the working directory
    env, wild = make_live(env_id), make_live(env_id)
    data = wild.unwrapped.data if env_id == "Ant-v5" else wild.unwrapped.physics.data.ptr
    simulator = make_simulator(env)
    state, plans = rows(simulator, env, 3), random_actions(env, (3, 4))
    expected = simulator.rollout(state, plans)
    data.qvel[:] = 1e12
    state[1] = simulator.snapshot(wild).item()
    rollout = simulator.rollout(state, plans)
    assert np.isnan(rollout.reward[1]).all() and np.isnan(rollout.observation[1]).all()
    for row in (0, 2):
        np.testing.assert_array_equal(rollout.reward[row], expected.reward[row])
        np.testing.assert_array_equal(rollout.observation[row], expected.observation[row])


def test_random_steps_are_those_the_environment_would_draw() -> None:
    """A deep copy takes the random generator along, and the live one does not notice."""
    env = make_live(WalkEnv, env_config={"noise": 0.1})
    simulator = DeepcopySimulator(env)
    plan = np.zeros((2, 4, 1), np.float32)
    rollout = simulator.rollout(rows(simulator, env, 2), plan)
    live = [env.step(action)[0] for action in plan[0]]
    np.testing.assert_array_equal(rollout.observation[:, 0], [live[-1][0]] * 2)
    assert np.std(live) > 0


def test_ezpickle_environments_are_copied_in_their_present_state() -> None:
    """`copy.deepcopy` would rebuild them at their start."""
    env = make_live(WalkEnv, num_steps=0, env_config={"start": 0.25})
    for _ in range(3):
        env.step(np.full(1, 0.125, np.float32))
    simulator = DeepcopySimulator(env)
    result = simulator.step(rows(simulator, env, 1), np.zeros((1, 1), np.float32))
    assert result.observation[0, 0] == 0.625 and result.reward[0] == 4.0


def test_sizes_times_and_counter() -> None:
    """Sizes, the control timestep and the step counter follow the environment and its action repeat."""
    env = make_live("Ant-v5", action_repeat=2)
    simulator = make_simulator(env)
    assert (simulator.observation_size, simulator.action_size) == (105, 8)
    assert simulator.control_timestep_sec == pytest.approx(0.1)
    simulator.rollout(rows(simulator, env, 3), random_actions(env, (3, 2)))
    simulator.rollout(rows(simulator, env, 2), lambda step, observation: random_actions(env, (2,)), 4)
    simulator.step(rows(simulator, env, 1), random_actions(env, (1,)))
    assert simulator.num_steps == 2 * (3 * 2 + 2 * 4 + 1)
    assert DeepcopySimulator(make_live(WalkEnv)).control_timestep_sec is None


def test_environment_that_cannot_be_copied_is_refused() -> None:
    """What holds a lock, a socket or a window cannot be copied, and says so in one line."""

    class Locked(WalkEnv):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    with pytest.raises(ValueError, match=r"`env` must have a state that can be copied, got .*Locked.*lock"):
        make_simulator(make_live(Locked))


def test_environment_of_another_origin_is_refused() -> None:
    """Without `make_env` there is no known observation; the message says what to call."""
    for env_id in ("Ant-v5", "Pendulum-v1"):
        with pytest.raises(ValueError, match=r"`env` must be built by `distill_rl.envs.make_env`, got"):
            make_simulator(gym.make(env_id))
    with pytest.raises(ValueError, match="`env` must be a MuJoCo environment, got"):
        DataCopySimulator(make_live("Pendulum-v1"))


@pytest.mark.parametrize("env_id", ["Ant-v5", "Pendulum-v1"])
def test_snapshot_before_a_reset_is_refused(env_id: str) -> None:
    """An environment that was never reset has no state."""
    env = make_env(env_id)
    with pytest.raises(ValueError, match="`env` must be reset before its state is taken"):
        make_simulator(env).snapshot(env)


def test_wrong_shapes_are_named() -> None:
    """Wrong states, actions and step numbers are errors that name the argument."""
    env = make_live(WalkEnv)
    simulator = DeepcopySimulator(env)
    state, plan = rows(simulator, env, 2), np.zeros((2, 3, 1), np.float32)
    with pytest.raises(ValueError, match="`state` must have shape"):
        simulator.rollout(state[:, None], plan)
    with pytest.raises(ValueError, match="`actions` must have shape"):
        simulator.rollout(state, plan[:1])
    with pytest.raises(ValueError, match="`actions` must have shape"):
        simulator.rollout(state, plan, 4)
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got None"):
        simulator.rollout(state, lambda step, observation: plan[:, step])
    with pytest.raises(ValueError, match="`action` must have shape"):
        simulator.step(state, plan[:, 0, :0])


def test_states_that_are_dropped_lend_their_memory_again() -> None:
    """Rollouts allocate no more `MjData` than states are alive at a time."""
    env = make_live("Ant-v5")
    simulator = DataCopySimulator(env)
    state, plans = rows(simulator, env, 4), random_actions(env, (4, 2))
    for _ in range(3):
        rollout = simulator.rollout(state, plans)
        distinct = {id(row.saved.data) for row in (*rollout.state, *state)}
        assert len(distinct) == 4 + 1
        del rollout
        assert len(simulator._pool) == 4


@pytest.mark.parametrize("frame_skip", [1, 5])
@pytest.mark.parametrize("num_before", [0, 1])
def test_divergence_that_mujoco_would_hide_is_seen(
    frame_skip: int, num_before: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither MuJoCo's silent reset nor huge finite numbers pass for a sound step, even the second time."""
    monkeypatch.chdir(tmp_path)
    env, speed = make_live("HalfCheetah-v5", env_config={"frame_skip": frame_skip}), 2e10
    simulator = DataCopySimulator(env)
    data, action = env.unwrapped.data, np.zeros((1, 6), np.float32)
    for _ in range(num_before):
        data.qvel[:] = speed
        env.step(action[0])
    data.qvel[:] = speed
    result = simulator.step(rows(simulator, env, 1), action)
    assert np.isnan(result.reward[0]) and np.isnan(result.observation).all()
