import gymnasium as gym
import numpy as np
import pytest
from toy_simulator import LinearPolicy, PointMassEnv, PointMassSimulator

from actors.operators.config import ActingConfig, RootBanditConfig
from actors.operators.root_bandit import RootBandit
from actors.recording import StepRecorder
from actors.search_actor import SearchActor
from actors.simulators import make_simulator
from actors.step_log import StepLog
from distill_rl.envs import make_env

_METADATA = {"name": "toy", "source": "a test"}


class _Journal(gym.Wrapper):
    """Writes every step down, inside the recorder: what the environment was told and what it answered."""

    def __init__(self, env, rows):
        super().__init__(env)
        self._rows = rows

    def reset(self, **kwargs):
        self._observation, info = self.env.reset(**kwargs)
        return self._observation, info

    def step(self, action):
        before = self._observation
        self._observation, reward, terminated, truncated, info = self.env.step(action)
        self._rows.append((before, np.array(action), reward, self._observation, terminated))
        return self._observation, reward, terminated, truncated, info


def _recorded(log, **settings):
    return make_env(lambda: StepRecorder(make_env(PointMassEnv, env_config=settings), log))


def test_recorded_steps_are_those_that_the_environments_took():
    """Of search and student alike, in order, with what followed; simulated steps are not among them."""
    rows, log = [], StepLog(1, 1)
    envs = [
        StepRecorder(_Journal(make_env(PointMassEnv, env_config={"limit": 0.99, "max_steps": 7}), rows), log)
        for _ in range(4)
    ]
    config = RootBanditConfig(num_candidates=4, num_perturbed=2, ascent_steps=(0.5,), horizon_steps=3)
    simulator = PointMassSimulator(limit=0.99)
    actor = SearchActor(
        envs,
        simulator,
        RootBandit(simulator, config),
        ActingConfig(student_fraction=0.5, mixed_fraction=0.5, mixed_episode_steps=5),
        seed=1,
    )
    collected = actor.collect(LinearPolicy(gain=-1.0), num_steps=30)
    assert collected.num_env_steps == len(rows) == len(log) == 120
    assert {e.acted_by for e in collected.episodes} >= {"search", "student"}
    # Rows of the log in the order of the journal: an episode's rows follow each other in both.
    dataset = log.to_dataset(_METADATA)
    key = {tuple(map(float, (*row[0], *row[1], row[2], *row[3]))): row[4] for row in rows}
    columns = (dataset.observations, dataset.actions, dataset.rewards[:, None], dataset.next_observations)
    found = [tuple(map(float, row)) for row in np.concatenate(columns, axis=1)]
    expected = {tuple(float(np.float32(v)) for v in row): terminated for row, terminated in key.items()}
    assert sorted(found) == sorted(expected)
    assert [expected[row] for row in found] == dataset.terminals.tolist()
    assert dataset.terminals.any()
    first = [row[0] for row in rows[:4]]
    np.testing.assert_array_equal(dataset.observations[dataset.episode_starts[:4]], np.stack(first))
    for steps in dataset.episodes():
        np.testing.assert_array_equal(dataset.next_observations[steps][:-1], dataset.observations[steps][1:])


def test_the_native_simulator_sees_through_the_recorder():
    """The same simulator, snapshots and steps as without it."""
    log = StepLog(11, 3)
    recorded = make_env(lambda: StepRecorder(make_env("Hopper-v5"), log))
    plain = make_env("Hopper-v5")
    simulators = [make_simulator(env) for env in (recorded, plain)]
    assert simulators[0].description == simulators[1].description
    assert "native" in simulators[0].description
    action = np.full((1, 3), 0.5, np.float32)
    results = []
    for simulator, env in zip(simulators, (recorded, plain), strict=True):
        env.reset(seed=3)
        env.step(action[0])
        results.append(simulator.step(simulator.snapshot(env)[None], action))
    np.testing.assert_array_equal(results[0].observation, results[1].observation)
    np.testing.assert_array_equal(results[0].observation[0], recorded.step(action[0])[0])
    assert len(log) == 2


@pytest.mark.parametrize(
    ("env", "kind", "sizes"),
    [(PointMassEnv, "deep copies", (1, 1)), ("InvertedDoublePendulum-v5", "mj_copyData", (9, 1))],
)
def test_copies_record_nothing(env, kind, sizes):
    """Other simulators copy the environment with its wrappers: what they step is no data."""
    log = StepLog(*sizes)
    recorded = make_env(lambda: StepRecorder(make_env(env), log))
    recorded.reset(seed=0)
    recorded.step(np.zeros(1, np.float32))
    simulator = make_simulator(recorded)
    assert kind in simulator.description
    state = np.empty(1, object)
    state[0] = np.asarray(simulator.snapshot(recorded), object).item()
    rollout = simulator.rollout(state, np.full((1, 5, 1), 0.1, np.float32))
    assert len(log) == 1
    for _ in range(5):
        observation, *_ = recorded.step(np.full(1, 0.1, np.float32))
    np.testing.assert_array_equal(rollout.observation[0], observation)
    assert len(log) == 6 and log.num_episodes == 1


def test_failed_physics_is_no_data():
    """The step that fails is left out, and so is what is stepped before the next reset."""
    log = StepLog(1, 1)
    env = _recorded(log, start=0.0, poison=0.15)
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.ones(1, np.float32))
    assert len(log) == 1
    env.reset(seed=0)
    env.step(np.ones(1, np.float32))
    assert log.episode_lengths().tolist() == [1, 1]
