"""The clock of learning curves, and when they are evaluated."""

import numpy as np
import pytest

from actors.evaluation import EvaluationResult
from distill_rl.cli.experiments.curves import CurveSpec, StepCounts, TrainingClock, record_curve


class _World:
    """A clock that everything moves on by what it takes, and a method that trains in it."""

    def __init__(self, train_sec=1.0, idle_sec=0.0, evaluate_sec=100.0):
        self.now = 0.0
        self.num_trained = self.num_waits = 0
        self._train_sec, self._idle_sec, self._evaluate_sec = train_sec, idle_sec, evaluate_sec
        self.policies = {"policy": self._evaluate}

    def train(self):
        self.now += self._train_sec
        self.num_trained += 1

    def wait_idle(self):
        self.now += self._idle_sec
        self.num_waits += 1

    def counts(self):
        return StepCounts(self.num_trained, 10 * self.num_trained)

    def stop(self):
        pass

    def _evaluate(self, envs, num_episodes, seed):
        self.now += self._evaluate_sec
        return EvaluationResult(np.full(num_episodes, float(self.num_trained)), np.ones(num_episodes, int), 0)


def _record(world, time_limit_sec, interval_sec):
    spec = CurveSpec("m", "e", 2, 7, time_limit_sec, interval_sec, {"policy": 3})
    return record_curve(world, spec, [], TrainingClock(lambda: world.now))


def test_clock_counts_only_while_it_runs():
    """Time between two blocks is not counted."""
    world = _World()
    clock = TrainingClock(lambda: world.now)
    with clock.running():
        world.now += 3.0
        assert clock.seconds == 3.0
    world.now += 50.0
    assert clock.seconds == 3.0
    with clock.running():
        world.now += 4.0
    assert clock.seconds == 7.0


def test_clock_stops_on_an_error():
    """A failure leaves a clock that stands."""
    world = _World()
    clock = TrainingClock(lambda: world.now)
    with pytest.raises(KeyError), clock.running():
        world.now += 2.0
        raise KeyError
    world.now += 5.0
    assert clock.seconds == 2.0


def test_evaluations_stand_at_the_start_at_every_interval_and_at_the_end():
    """Their own time, however long, is on no axis."""
    rows = _record(_World(), time_limit_sec=10.0, interval_sec=4.0)
    assert [row["wall_sec"] for row in rows] == [0.0, 4.0, 8.0, 10.0]
    assert [row["evaluation"] for row in rows] == [0, 1, 2, 3]
    assert [row["env_steps"] for row in rows] == [0, 4, 8, 10]
    assert [row["simulator_steps"] for row in rows] == [0, 40, 80, 100]
    assert [row["episode_return"] for row in rows] == [0.0, 4.0, 8.0, 10.0]


def test_training_that_oversteps_several_intervals_is_evaluated_once():
    """A missed evaluation is not made up for."""
    rows = _record(_World(train_sec=7.0), time_limit_sec=20.0, interval_sec=2.0)
    assert [row["wall_sec"] for row in rows] == [0.0, 7.0, 14.0, 21.0]


def test_background_work_is_waited_for_on_the_clock():
    """Work that goes on while the clock stands would be free."""
    world = _World(idle_sec=0.5)
    rows = _record(world, time_limit_sec=4.0, interval_sec=2.0)
    assert [row["wall_sec"] for row in rows] == [0.0, 2.5, 5.0]
    assert world.num_waits == 2


def test_every_policy_has_a_row_for_each_evaluation():
    """Rows carry who was measured, in what, and over how many episodes."""
    world = _World()
    world.policies["other"] = world.policies["policy"]
    spec = CurveSpec("m", "e", 2, 7, 1.0, 1.0, {"policy": 3, "other": 1})
    rows = record_curve(world, spec, [], TrainingClock(lambda: world.now))
    assert [(row["policy"], row["evaluation"]) for row in rows] == [
        ("policy", 0),
        ("other", 0),
        ("policy", 1),
        ("other", 1),
    ]
    known = {"method": "m", "env": "e", "action_repeat": 2, "seed": 7, "num_episodes": 3}
    assert known.items() <= rows[0].items()
    assert rows[1]["num_episodes"] == 1


@pytest.mark.parametrize("name", ["time_limit_sec", "evaluation_interval_sec", "num_cores"])
def test_spec_refuses_what_would_never_end(name):
    """Times and cores are positive."""
    fields = {"time_limit_sec": 1.0, "evaluation_interval_sec": 1.0, "num_cores": 1, name: 0}
    with pytest.raises(ValueError, match=f"`{name}` must be positive, got 0"):
        CurveSpec("m", "e", 2, 0, num_episodes={}, **fields)
