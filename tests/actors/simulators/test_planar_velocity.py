import mujoco
import numpy as np
import pytest
from live_envs import make_live, physics_of

from actors.simulators.mujoco import MujocoSimulator
from actors.simulators.planar_velocity import PlanarVelocity


@pytest.mark.parametrize("name", ["cheetah-run", "hopper-hop"])
def test_velocity_is_that_of_the_sensor(name):
    """At random positions and velocities."""
    model = physics_of(make_live(name)).model.ptr
    velocity, data = PlanarVelocity(model, "torso"), mujoco.MjData(model)
    generator = np.random.default_rng(0)
    for _ in range(50):
        data.qpos[:], data.qvel[:] = generator.normal(size=model.nq), 3.0 * generator.normal(size=model.nv)
        mujoco.mj_forward(model, data)
        expected = data.sensor("torso_subtreelinvel").data
        found = velocity(np.array(data.qpos), np.array(data.qvel))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "body"), [("reacher-easy", "arm"), ("humanoid-run", "torso"), ("walker-walk", "torso")]
)
def test_other_bodies_are_refused(name, body):
    """What cannot be computed that way is not."""
    model = physics_of(make_live(name)).model.ptr
    with pytest.raises(ValueError, match="`body_name` must name a planar body"):
        PlanarVelocity(model, body)


def test_a_single_step_costs_no_native_sensors(monkeypatch):
    """Its reward is the one of a plan, which takes them, up to rounding."""
    env = make_live("cheetah-run")
    simulator = MujocoSimulator(env)
    state = np.repeat(simulator.snapshot(env)[None], 5, axis=0)
    action = np.random.default_rng(0).uniform(-1.0, 1.0, (5, 6)).astype(np.float32)
    plan = simulator.rollout(state, np.repeat(action[:, None], 30, axis=1))
    monkeypatch.setattr(simulator._native, "state_sensors", None)
    for index in range(30):
        step = simulator.step(state, action)
        np.testing.assert_allclose(step.reward, plan.reward[:, index], rtol=1e-6, atol=1e-9)
        state = step.state
