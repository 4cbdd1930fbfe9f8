"""Building environments, and every way a caller can get it wrong."""

import functools
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from distill_rl.envs import action_repeat_of, control_timestep_sec, make_env


class ToyEnv(gym.Env):
    """An environment with spaces of the test's choice."""

    def __init__(
        self, observation_space: spaces.Space | None = None, action_space: spaces.Space | None = None
    ):
        self.observation_space = observation_space or spaces.Box(-1, 1, (3,), np.float64)
        self.action_space = action_space or spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize(
    ("env_id", "observation_size", "action_size"),
    [("Hopper-v5", 11, 3), ("Pendulum-v1", 3, 1), ("dm_control/walker-walk-v0", 24, 6)],
)
def test_registered_environments_have_one_interface(
    env_id: str, observation_size: int, action_size: int
) -> None:
    """Ids of Gymnasium and dm_control give float32 vectors and actions in [-1, 1]."""
    env = make_env(env_id, action_repeat=2)
    observation, _ = env.reset(seed=0)
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (observation_size,), np.float32)
    assert env.action_space == spaces.Box(-1.0, 1.0, (action_size,), np.float32)
    assert observation.dtype == np.float32 and observation.shape == (observation_size,)
    assert env.step(env.action_space.sample())[0].shape == (observation_size,)
    assert action_repeat_of(env) == 2


def test_classes_functions_and_their_settings_are_taken() -> None:
    """A class or function is called with `env_config`; an id hands it to `gymnasium.make`."""
    box = spaces.Box(-1, 1, (5,), np.float64)
    assert make_env(ToyEnv, env_config={"observation_space": box}).observation_space.shape == (5,)
    assert make_env(lambda: ToyEnv(box)).observation_space.shape == (5,)
    hopper = make_env("Hopper-v5", env_config={"forward_reward_weight": 3.0, "max_episode_steps": 7})
    assert hopper.unwrapped._forward_reward_weight == 3.0
    assert hopper.spec.max_episode_steps == 7
    assert make_env("gymnasium.envs.mujoco:Hopper-v5").observation_space.shape == (11,)


def test_factories_can_be_pickled() -> None:
    """A factory of environments travels to another process."""
    factory = pickle.loads(pickle.dumps(functools.partial(make_env, "Pendulum-v1", action_repeat=3)))
    assert action_repeat_of(factory()) == 3


def test_an_environment_can_be_built_twice_from_one_config() -> None:
    """The settings are read, not consumed."""
    config = {"forward_reward_weight": 2.0}
    for _ in range(2):
        make_env("Hopper-v5", env_config=config)
    assert config == {"forward_reward_weight": 2.0}


@pytest.mark.parametrize(
    ("env_id", "near"),
    [
        ("cheetah-run", "dm_control/cheetah-run-v0"),
        ("dm_control/cheetah_run-v0", "dm_control/cheetah-run-v0"),
        ("Hopper", "Hopper-v5"),
        ("Hoper-v5", "Hopper-v5"),
    ],
)
def test_unknown_id_names_the_nearest(env_id: str, near: str) -> None:
    """An unknown id is one line that names the nearest known one."""
    with pytest.raises(ValueError, match=rf"^`env` must be a registered .*{env_id}.*did you mean '{near}'"):
        make_env(env_id)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "dm_control/cheetah-run-v0"])
def test_unknown_setting_is_named(env_id: str) -> None:
    """An unknown key of `env_config` is an error that names the key and the environment."""
    with pytest.raises(ValueError, match=rf"`env_config` of '{env_id}' has an unknown key 'gravitas'"):
        make_env(env_id, env_config={"gravitas": 1})
    with pytest.raises(ValueError, match="`env_config` of 'ToyEnv' has an unknown key 'gravitas'"):
        make_env(ToyEnv, env_config={"gravitas": 1})


def test_type_errors_of_the_environment_itself_are_not_renamed() -> None:
    """A bug inside an environment's constructor stays the error it is."""

    def broken(size: int) -> gym.Env:
        return ToyEnv(colour=size)  # type: ignore[call-arg]

    with pytest.raises(TypeError, match="colour"):
        make_env(broken, env_config={"size": 1})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3), "must be a continuous vector"),
        (spaces.MultiDiscrete([2, 2]), "must be a continuous vector"),
        (spaces.Dict(move=spaces.Box(-1, 1, (2,))), "must be a continuous vector"),
        (spaces.Box(-1, 1, (2, 2)), "must be a continuous vector"),
        (spaces.Box(0, 9, (2,), np.int64), "must be a continuous vector"),
        (spaces.Box(-np.inf, np.inf, (2,)), "must be bounded"),
        (spaces.Box(np.array([-1, -np.inf]), np.array([1.0, 1.0]), dtype=np.float64), "must be bounded"),
        (spaces.Box(-1e10, 1e10, (2,)), "must be bounded"),
    ],
)
def test_other_action_spaces_are_refused(space: spaces.Space, message: str) -> None:
    """Only bounded continuous vectors are actions; the message names the environment and the space."""
    with pytest.raises(ValueError, match=f"^environment 'ToyEnv': `action_space` {message}.*, got") as caught:
        make_env(ToyEnv, env_config={"action_space": space})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (8, 8, 3), np.uint8),
        spaces.Box(0, 255, (8, 8), np.uint8),
        spaces.Box(0.0, 1.0, (8, 8, 3), np.float32),
        spaces.Dict(camera=spaces.Box(0, 255, (8, 8, 3), np.uint8)),
    ],
)
def test_images_are_refused(space: spaces.Space) -> None:
    """Image observations are an error, inside a dictionary too."""
    with pytest.raises(
        ValueError, match=r"^environment .ToyEnv.: `observation.*must be a vector, got an image"
    ):
        make_env(ToyEnv, env_config={"observation_space": space})


def test_small_arrays_are_no_images() -> None:
    """Matrices, and arrays with axes of length 1, are flattened."""
    space = spaces.Dict(a=spaces.Box(-1, 1, (1, 6, 2)), b=spaces.Box(-1, 1, (2, 2)))
    assert make_env(ToyEnv, env_config={"observation_space": space}).observation_space.shape == (16,)


def test_other_observations_are_refused() -> None:
    """Observations that are no arrays of numbers are an error."""
    with pytest.raises(ValueError, match="must be an array of numbers"):
        make_env(ToyEnv, env_config={"observation_space": spaces.Discrete(4)})


@pytest.mark.parametrize("action_repeat", [0, -1, 1.5, True, "2"])
def test_action_repeat_must_be_a_positive_integer(action_repeat: Any) -> None:
    """A wrong action repeat is named."""
    with pytest.raises(ValueError, match="`action_repeat` must be a positive integer, got"):
        make_env(ToyEnv, action_repeat=action_repeat)


def test_what_is_no_environment_is_refused() -> None:
    """Neither an object nor a function that returns one passes for an environment."""
    with pytest.raises(ValueError, match=r"`env` must be an id, a class or a function, got .*int"):
        make_env(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`env` must return a gymnasium.Env, got .*dict"):
        make_env(dict)  # type: ignore[arg-type]


def test_control_timestep_includes_the_action_repeat() -> None:
    """dm_control's and MuJoCo's control steps are known; other environments' are not."""
    assert control_timestep_sec(make_env("dm_control/walker-walk-v0", action_repeat=2)) == pytest.approx(0.05)
    assert control_timestep_sec(make_env("Hopper-v5", action_repeat=3)) == pytest.approx(0.024)
    assert control_timestep_sec(make_env("Pendulum-v1")) is None
