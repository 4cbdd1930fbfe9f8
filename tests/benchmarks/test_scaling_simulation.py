"""The model of the loop, where its outcome is known in closed form."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import simpy
from scaling_layout import Layout, ServiceTimes
from scaling_simulation import Loop, actors_per_learner, simulate
from shared_cores import SharedCores

_FREE = ServiceTimes(
    search_sec=np.array([0.5]),
    num_sets=64,
    fragment_bytes=100_000,
    driver_sec=0.0,
    wait_sec_per_request=0.0,
    add_sec=0.0,
    update_sec=0.0,
    publish_sec=0.0,
    pull_sec=0.0,
    decode_sec=0.0,
    redis_sec=0.0,
)
_LEARNING = dataclasses.replace(_FREE, update_sec=0.01)  # 0.32 s a fragment at 0.5 updates a step


@pytest.mark.parametrize("num_actors", [1, 3, 50])
@pytest.mark.parametrize("stream_messages", [0, 128])
def test_actors_alone_scale_with_their_number(num_actors, stream_messages):
    """If nothing but searches takes time, throughput is that of the searches."""
    outcome = simulate(_FREE, Layout(num_actors, 0.001, stream_messages=stream_messages), 40.0)
    assert outcome.sets_per_sec == pytest.approx(num_actors * 64 / 0.5, rel=0.06)
    assert outcome.actor_share == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("is_local", [True, False])
def test_learner_is_the_bend(is_local):
    """Beyond the ratio of what a fragment costs, throughput is the learner's."""
    assert actors_per_learner(_LEARNING, 0.5) == pytest.approx(0.5 / 0.32)
    below = simulate(_LEARNING, Layout(1, 0.5), 20.0)
    above = simulate(_LEARNING, Layout(8, 0.5, is_local=is_local), 60.0)
    assert below.sets_per_sec == pytest.approx(64 / 0.5, rel=0.05)
    assert above.sets_per_sec == pytest.approx(64 / 0.32, rel=0.05)
    assert above.updates_per_sec == pytest.approx(100.0, rel=0.02)


def test_shared_core_is_divided():
    """On one core a fragment costs its search and its updates, whoever makes them."""
    outcome = simulate(_LEARNING, Layout(2, 0.5, is_local=True, num_cores=1.0), 60.0)
    assert outcome.sets_per_sec == pytest.approx(64 / (0.5 + 0.32), rel=0.05)


def test_serial_parts_bound_the_throughput():
    """A driver, a store or a Redis that serves one after another is a ceiling for any number of actors."""
    for name, layout in (
        ("driver_sec", Layout(400, 0.001)),
        ("pull_sec", Layout(400, 0.5)),
        ("redis_sec", Layout(400, 0.001, stream_messages=128)),
    ):
        times = dataclasses.replace(_FREE, **{name: 0.01})
        outcome = simulate(times, layout, 20.0)
        assert outcome.sets_per_sec + outcome.stale_share * 6_400 <= 1.05 * 64 / 0.01


def test_lag_grows_with_the_number_of_actors():
    """While one actor searches, all others bring updates: the lag is what is made in the time of a search."""
    for num_actors in (4, 16):
        layout = Layout(num_actors, 0.5, num_learners=10**6)
        outcome = simulate(_LEARNING, layout, 40.0)
        assert outcome.lag_updates == pytest.approx(32 * num_actors, rel=0.25)
    assert simulate(_LEARNING, Layout(200, 0.5, num_learners=10**6), 10.0).stale_share > 0.5


def test_runs_repeat_for_a_seed():
    """The same seed gives the same run; another one another."""
    times = dataclasses.replace(_LEARNING, search_sec=np.array([0.3, 0.5, 0.9]))
    first, again, other = (Loop(times, Layout(3), seed).run(5.0, 20.0) for seed in (1, 1, 2))
    assert first == again != other


def test_cores_are_shared_equally():
    """Two jobs on one core take twice as long, and the rest of one goes on alone."""
    env = simpy.Environment()
    cores, ends = SharedCores(env, 1.0), {}

    def job(name, start_sec, duration_sec):
        yield env.timeout(start_sec)
        yield cores.work(duration_sec)
        ends[name] = env.now

    env.process(job("long", 0.0, 2.0))
    env.process(job("short", 1.0, 0.5))
    env.run()
    assert ends == pytest.approx({"short": 2.0, "long": 2.5})


def test_cores_are_shared_by_weight_and_nobody_has_two():
    """Of 1.5 cores the heavy one has a whole, the light ones share the half; alone, each has one at most."""
    env = simpy.Environment()
    cores, ends = SharedCores(env, 1.5), {}

    def job(name, duration_sec, weight):
        yield cores.work(duration_sec, weight)
        ends[name] = env.now

    for name, duration_sec, weight in (("a", 0.5, 0.03), ("heavy", 1.0, 1.0), ("b", 1.0, 0.03)):
        env.process(job(name, duration_sec, weight))
    env.run()
    # Until 1 s the light ones have a quarter each, then three quarters; from 1 1/3 s on `b` is alone.
    assert ends == pytest.approx({"heavy": 1.0, "a": 4.0 / 3.0, "b": 4.0 / 3.0 + 0.5})


def test_the_driver_goes_before_searches():
    """On less than two cores the learner in the driver's process has one, and the searches what is left."""
    times = dataclasses.replace(_LEARNING, search_sec=np.array([0.1]))
    outcome = simulate(times, Layout(4, 0.5, is_local=True, num_cores=1.5), 60.0)
    assert outcome.sets_per_sec == pytest.approx(64 / 0.32, rel=0.05)
    alone = simulate(times, Layout(4, 0.5, is_local=True, num_cores=1.0), 60.0)
    assert alone.sets_per_sec == pytest.approx(64 / (0.1 + 0.32), rel=0.05)
