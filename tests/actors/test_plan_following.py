"""Plans carried out in a maze of one corridor."""

import numpy as np
import pytest

from actors.plan_following import follow_plans
from actors.waypoints import collect_maze
from distill_rl.datasets.state_limits import StateLimits
from distill_rl.envs import make_env, maze2d
from distill_rl.policies.plan_sampling import infer_actions
from learners.trajectory.inverse_dynamics import InverseDynamicsTrainer, StepSampler
from learners.trajectory.plan_config import PlanConfig

_GOAL = np.array([1.0, 1.0, 0.0, 0.0])


@pytest.fixture
def envs(monkeypatch):
    monkeypatch.setitem(maze2d.LAYOUTS, "corridor", ("######", "#G...#", "######"))
    made = [make_env(maze2d.Maze2dEnv, env_config={"layout": "corridor"}) for _ in range(4)]
    yield made
    for env in made:
        env.close()


def straight_plans(start, goal):
    """Lines to the goal in 100 steps, at even speed, 0.01 s a step."""
    plans = np.linspace(start, goal, 101, axis=1).astype(np.float32)
    plans[:, 1:-1, 2:] = ((goal - start) / 1.0)[:, None, :2]
    return plans


def test_a_plan_is_followed_to_the_goal_by_learned_inverse_dynamics(envs):
    dataset = collect_maze(
        make_env(maze2d.ENV_IDS["umaze"]), 3_000, 0, {"name": "maze2d-own", "source": "a test"}
    )
    limits = StateLimits.of(dataset)
    sampler, generator = StepSampler(dataset, limits), np.random.default_rng(0)
    trainer = InverseDynamicsTrainer(4, 2, PlanConfig(ema_decay=0.98), 0, step_scale=sampler.step_scale)
    for _ in range(1_000):
        trainer.update(sampler.sample(128, generator))
    followed = follow_plans(
        straight_plans, lambda a, b: infer_actions(trainer.ema, limits, a, b), envs, _GOAL, 200
    )
    assert followed.is_reached.all()
    assert (np.linalg.norm(followed.paths[:, 101, :2] - _GOAL[:2], axis=1) < 0.2).all()
    # On the plan all along, and at its end to the end.
    off = np.linalg.norm(followed.paths[:, :101, :2] - followed.plans[..., :2], axis=-1)
    assert float(off.max()) < 0.2
    assert (followed.rewards[:, 110:] == 1.0).all()
    assert (followed.returns == followed.rewards.sum(axis=1)).all()


def test_plans_are_made_once_of_what_was_reset(envs):
    """Starts are those of the seed, and the target of a step is the next state of the plan."""
    starts, targets = [], []

    def plan(start, goal):
        starts.append((start, goal))
        return straight_plans(start, goal)

    def act(state, next_state):
        targets.append(next_state)
        return np.zeros((len(state), 2), np.float32)

    first = follow_plans(plan, act, envs, _GOAL, 105, seed=7)
    assert len(starts) == 1 and (starts[0][1] == _GOAL).all()
    np.testing.assert_array_equal(first.paths[:, 0], starts[0][0])
    np.testing.assert_array_equal(np.stack(targets[:100], axis=1), first.plans[:, 1:])
    assert all((target == first.plans[:, -1]).all() for target in targets[100:])
    again = follow_plans(plan, act, envs, _GOAL, 105, seed=7)
    np.testing.assert_array_equal(first.paths, again.paths)


def test_plans_that_cannot_be_followed_are_refused(envs):
    def broken(start, goal):
        return np.full((len(start), 5, 4), np.nan, np.float32)

    def act(state, next_state):
        return np.zeros((len(state), 2), np.float32)

    with pytest.raises(ValueError, match=r"`plan_fn\(start, goal\)` must be finite"):
        follow_plans(broken, act, envs, _GOAL, 10)
    with pytest.raises(ValueError, match=r"`plan_fn\(start, goal\)` must have shape"):
        follow_plans(lambda s, g: s[:2, None], act, envs, _GOAL, 10)
    with pytest.raises(ValueError, match="at least one environment"):
        follow_plans(straight_plans, act, [], _GOAL, 10)
    with pytest.raises(ValueError, match=r"`goal` must have shape \[4\], got \[2\]"):
        follow_plans(straight_plans, act, envs, _GOAL[:2], 10)
    with pytest.raises(ValueError, match="`num_steps` must be an integer of at least 1, got 0"):
        follow_plans(straight_plans, act, envs, _GOAL, 0)
    with pytest.raises(ValueError, match=r"`inverse_fn\(state, next_state\)` must have shape \[4, any\]"):
        follow_plans(straight_plans, lambda s, n: act(s, n)[:1], envs, _GOAL, 10)
