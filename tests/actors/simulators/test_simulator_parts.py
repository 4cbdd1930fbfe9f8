"""The small parts under the native simulator: tolerance, sensors, models, records, wrappers."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from dm_control.suite import walker
from dm_control.utils import rewards
from live_envs import make_live, physics_of

from actors.simulators.augmented_model import augment_model, frame_axis, frame_position
from actors.simulators.dm_control_task import euclidean_norm
from actors.simulators.live_env import model_and_data
from actors.simulators.sensors import SensorColumns
from actors.simulators.tolerance import tolerance
from actors.simulators.trajectory import find_diverged, sum_repeats
from distill_rl.envs import action_repeat_of


@pytest.mark.parametrize(
    ("bounds", "settings"),
    [
        ((10, np.inf), {"margin": 10, "value_at_margin": 0, "sigmoid": "linear"}),
        ((1.2, np.inf), {"margin": 0.6}),
        ((-1.0, 2.0), {"margin": 3.0, "value_at_margin": 0.3, "sigmoid": "gaussian"}),
        ((0.0, 0.0), {"margin": 1, "value_at_margin": 0, "sigmoid": "quadratic"}),
        ((0.6, 2), {}),
    ],
)
def test_tolerance_equals_dm_control(bounds: tuple[float, float], settings: dict) -> None:
    """Every value equals dm_control's scalar function bit for bit."""
    x = np.concatenate([np.linspace(-12, 12, 241), np.array([0.6, 1.2, 10.0])]).reshape(2, 122)
    expected = [rewards.tolerance(float(value), bounds, **settings) for value in x.ravel()]
    np.testing.assert_array_equal(tolerance(x, bounds, **settings).ravel(), expected)
    assert len(set(expected)) > 1


def test_tolerance_names_what_is_wrong() -> None:
    """Reversed bounds, a negative margin and an unknown shape are errors that say so."""
    x = np.zeros(3)
    with pytest.raises(ValueError, match=r"`bounds` must be .*got \(1, 0\)"):
        tolerance(x, (1, 0))
    with pytest.raises(ValueError, match="`margin` must not be negative, got -1"):
        tolerance(x, margin=-1)
    with pytest.raises(ValueError, match=r"`sigmoid` must be one of .*did you mean 'linear'"):
        tolerance(x, margin=1, sigmoid="linea")  # type: ignore[arg-type]


def test_euclidean_norm_equals_numpy_of_each_vector() -> None:
    """The batched norm equals `np.linalg.norm` of every vector bit for bit."""
    vectors = np.random.default_rng(0).normal(size=(50, 4, 3))
    expected = [np.linalg.norm(vector.copy()) for vector in vectors.reshape(-1, 3)]
    np.testing.assert_array_equal(euclidean_norm(vectors).ravel(), expected)


def test_sum_repeats_adds_first_to_last() -> None:
    """Consecutive groups are added in order, as a loop does."""
    reward = np.random.default_rng(0).normal(size=(12, 2)) * 10.0 ** np.arange(12)[:, None]
    expected = np.zeros((3, 2))
    for step in range(12):
        expected[step // 4] += reward[step]
    np.testing.assert_array_equal(sum_repeats(reward, 4), expected)


def test_find_diverged_marks_each_kind() -> None:
    """NaN, infinite and huge states and stopped clocks are marked; sound states are not."""
    states = np.zeros((3, 5, 4))
    states[..., 0] = 1.0 + np.array([[0.1], [0.2], [0.3]])
    states[1, 1, 2] = np.nan
    states[2, 2, 3] = -np.inf
    states[0, 3, 1] = 2 * mujoco.mjMAXVAL
    states[2, 4, 0] = 1.2  # abandoned after the second step
    expected = np.zeros((3, 5), bool)
    expected[1, 1] = expected[2, 2] = expected[0, 3] = expected[2, 4] = True
    seconds = np.array([[0.1], [0.2], [0.3]])
    np.testing.assert_array_equal(find_diverged(states, np.ones(5), seconds), expected)
    assert find_diverged(states[:, :1].copy(), np.ones(1), seconds) is None


def test_sensor_columns_pick_by_name() -> None:
    """Columns of sensors named in any order hold what MuJoCo stores under these names."""
    physics = physics_of(make_live("finger-spin"))
    names = ("tip", "hinge_velocity", "proximal")
    columns = SensorColumns(physics.model.ptr, names)
    physics.data.sensordata[:] = np.arange(len(physics.data.sensordata))
    picked = columns.by_name(physics.data.sensordata[columns.indices])
    assert len(columns) == 5
    for name in names:
        np.testing.assert_array_equal(picked[name], physics.named.data.sensordata[name])


def test_augmented_model_steps_alike_and_measures_frames() -> None:
    """Added sensors read `xpos` and `xmat`, and the trajectory stays equal bit for bit."""
    physics = physics_of(make_live("walker-walk"))
    model = physics.model.ptr
    model.body_mass[2] *= 1.5  # an edit after compilation must be kept
    model.opt.gravity[2] = -5.0
    sensors = (frame_position(mujoco.mjtObj.mjOBJ_XBODY, "torso"), frame_axis("torso"))
    augmented = augment_model(model, *walker.get_model_and_assets(), sensors)
    datas = [mujoco.MjData(model), mujoco.MjData(augmented)]
    for data, each in zip(datas, (model, augmented), strict=True):
        data.ctrl[:] = 0.3
        mujoco.mj_step(each, data, 100)
        mujoco.mj_forward(each, data)
    np.testing.assert_array_equal(datas[0].qpos, datas[1].qpos)
    torso = datas[0].body("torso")
    np.testing.assert_array_equal(datas[1].sensor("torso_xbody_position").data, torso.xpos)
    np.testing.assert_array_equal(datas[1].sensor("torso_z_axis").data, torso.xmat.reshape(3, 3)[:, 2])


def test_augmented_model_refuses_another_source() -> None:
    """A source that describes another model is an error."""
    model = physics_of(make_live("cheetah-run")).model.ptr
    with pytest.raises(ValueError, match="`xml` must describe the live model"):
        augment_model(model, *walker.get_model_and_assets(), (frame_axis("torso"),))


def test_action_repeat_of_multiplies_wrappers() -> None:
    """Nested repeats multiply, and an environment without any repeats once."""
    env = make_live("cheetah-run", action_repeat=2)
    assert action_repeat_of(env.env) == 1
    assert action_repeat_of(env) == 2
    assert action_repeat_of(type(env)(env, 3)) == 6


def test_model_and_data_are_found_or_none() -> None:
    """dm_control and Gymnasium environments give their live handles, others none."""
    env = gym.make("HalfCheetah-v5")
    handles = model_and_data(env)
    assert handles is not None and handles[1] is env.unwrapped.data
    handles = model_and_data(make_live("cheetah-run"))
    assert handles is not None and isinstance(handles[0], mujoco.MjModel)
    assert model_and_data(gym.make("Pendulum-v1")) is None
