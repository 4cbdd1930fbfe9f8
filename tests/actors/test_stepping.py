import mujoco
import numpy as np
import pytest
from dm_control.rl.control import PhysicsError
from toy_simulator import PointMassEnv

from actors.stepping import best_actions, stack_states, step_env
from distill_rl.types import ReferenceSet


def test_step_is_that_of_the_environment():
    """A sound step is passed on as it is, with a float32 observation."""
    env = PointMassEnv(1, limit=0.55, start=0.5)
    env.reset()
    step = step_env(env, np.ones(1, np.float32))
    np.testing.assert_allclose((step.observation[0], step.reward), (0.6, -0.36), rtol=1e-6)
    assert step.observation.dtype == np.float32 and step.terminated and not step.truncated


@pytest.mark.parametrize("failure", [None, PhysicsError("bad"), mujoco.FatalError("bad")])
def test_failed_physics_gives_no_step(failure):
    """NaN and exceptions of physics are no step."""
    env = PointMassEnv(1, start=0.5, poison=0.55, failure=failure)
    env.reset()
    assert step_env(env, np.ones(1, np.float32)) is None


def test_other_exceptions_reach_the_caller():
    """A fault that is not of physics is not swallowed."""
    env = PointMassEnv(1, start=0.5, poison=0.55, failure=KeyError("bug"))
    env.reset()
    with pytest.raises(KeyError):
        step_env(env, np.ones(1, np.float32))


def test_best_actions_have_the_most_mass():
    """In each state the candidate of the largest probability acts; the first one where several have it."""
    log_probs = np.log(np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.2, 0.4, 0.4]], np.float32))
    actions = np.arange(9, dtype=np.float32).reshape(3, 3, 1) / 9
    zeros = np.zeros(3, np.float32)
    reference_set = ReferenceSet(
        zeros[:, None], actions, log_probs, np.zeros_like(log_probs), zeros, zeros, policy_version=0
    )
    np.testing.assert_array_equal(best_actions(reference_set), np.array([[0], [4], [7]], np.float32) / 9)


def test_states_stack_to_rows():
    """Vectors become a matrix, objects become a vector of objects."""
    assert stack_states([np.zeros(3), np.ones(3)]).shape == (2, 3)
    objects = [{"a": 1}, {"a": 2}]
    stacked = stack_states(objects)
    assert stacked.shape == (2,) and stacked[1] is objects[1]
