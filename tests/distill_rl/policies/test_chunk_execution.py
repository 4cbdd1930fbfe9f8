"""Acting out chunks, against a plain loop over one episode at a time."""

import numpy as np
import pytest

from distill_rl.policies.chunk_execution import ChunkExecutor


class Planner:
    """Plans `[observation, observation + 0.1, ...]`, and remembers for whom it did."""

    def __init__(self, horizon=4):
        self.horizon, self.planned = horizon, []

    def __call__(self, observation):
        self.planned.append(observation[:, 0].tolist())
        return observation[:, None, :1] + 0.1 * np.arange(self.horizon)[None, :, None]


@pytest.mark.parametrize("exec_horizon", [1, 3, 4])
def test_every_episode_plans_anew_when_its_own_chunk_is_used_up(exec_horizon):
    """Three episodes, of which one starts late and one ends early, act as each would alone."""
    executor = ChunkExecutor(Planner(), exec_horizon)
    episodes = {"a": range(0, 9), "b": range(2, 5), "c": range(4, 9)}
    for step in range(9):
        running = [name for name, steps in episodes.items() if step in steps]
        observation = np.array([[100.0 * "abc".index(name) + step] for name in running])
        actions = executor.act(observation, running)
        for name, action in zip(running, actions):
            done = step - episodes[name][0]
            planned_at = step - done % exec_horizon
            expected = 100.0 * "abc".index(name) + planned_at + 0.1 * (done % exec_horizon)
            np.testing.assert_allclose(action, [expected])


def test_only_those_who_are_due_are_planned_for():
    """One batch for all that start together; nobody else is in it."""
    planner = Planner()
    executor = ChunkExecutor(planner, 2)
    executor.act(np.array([[1.0], [2.0]]), ["a", "b"])
    executor.act(np.array([[1.5], [2.5], [3.0]]), ["a", "b", "c"])
    executor.act(np.array([[4.0], [5.0], [6.0]]), ["a", "b", "c"])
    assert planner.planned == [[1.0, 2.0], [3.0], [4.0, 5.0]]


def test_what_is_not_running_is_forgotten():
    """An episode of a name that was used before starts with a plan of its own, and so does a reset one."""
    executor = ChunkExecutor(Planner(), 3)
    executor.act(np.array([[1.0]]), ["a"])
    executor.act(np.array([[2.0]]), ["b"])
    assert executor.act(np.array([[7.0]]), ["a"]) == 7.0
    assert executor.act(np.array([8.0])) == 8.0
    executor.reset()
    assert executor.act(np.array([9.0])) == 9.0


def test_mistakes_are_named():
    """Counts and names of episodes, and the length of chunks."""
    with pytest.raises(ValueError, match="`exec_horizon` must be an integer of at least 1, got 0"):
        ChunkExecutor(Planner(), 0)
    with pytest.raises(ValueError, match="`exec_horizon` must be at most 4"):
        ChunkExecutor(Planner(), 5).act(np.zeros(1))
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="`episodes` must name each of 2 rows once"):
            ChunkExecutor(Planner(), 1).act(np.zeros((2, 1)), names)
    with pytest.raises(ValueError, match="`episodes` must name each of 2 rows once"):
        ChunkExecutor(Planner(), 1).act(np.zeros((2, 1)))
