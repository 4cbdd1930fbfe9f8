import numpy as np
import pytest

from distill_rl.envs import control_timestep_sec, make_env
from distill_rl.envs.maze2d import ENV_IDS, MAX_EPISODE_STEPS, Maze2dEnv, cell_of, goal_cell, wall_map


def _push(env, action, num_steps=300):
    for _ in range(num_steps):
        observation, *_ = env.unwrapped.step(np.array(action, np.float32))
    return observation


@pytest.mark.parametrize(
    ("layout", "goal", "num_free"), [("umaze", (1, 1), 7), ("medium", (6, 6), 26), ("large", (7, 9), 46)]
)
def test_layouts_have_the_goals_of_d4rl(layout, goal, num_free):
    """Goals as `d4rl/pointmaze/maze_model.py` has them; borders are walls."""
    walls = wall_map(layout)
    assert goal_cell(layout) == goal and not walls[goal]
    assert (~walls).sum() == num_free
    assert walls[0].all() and walls[-1].all() and walls[:, 0].all() and walls[:, -1].all()


@pytest.mark.parametrize("layout", list(ENV_IDS))
def test_episodes_start_in_free_cells_and_end_with_their_time(layout):
    """Within 0.1 of a free cell's numbers; nothing but the limit ends them."""
    env = make_env(ENV_IDS[layout])
    walls = wall_map(layout)
    assert control_timestep_sec(env) == pytest.approx(0.01)
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        assert observation.shape == (4,)
        assert np.abs(observation[:2] - np.round(observation[:2])).max() <= 0.1
        assert not walls[tuple(np.round(observation[:2]).astype(int))]
        assert not walls[cell_of(observation[:2])]
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(MAX_EPISODE_STEPS[layout])]
    assert not any(terminated for terminated, _ in ends)
    assert [truncated for _, truncated in ends] == [False] * (len(ends) - 1) + [True]


def test_observations_are_position_and_velocity_along_rows_and_columns():
    """`x, y, vx, vy`: a push along x moves x, and positions change by 0.01 of the velocity."""
    env = make_env(ENV_IDS["umaze"])
    before, _ = env.reset(seed=1)
    for action in ([0.5, 0.0], [0.0, -0.5], [0.3, 0.4]):
        speed_before = before[2:]
        after, *_ = env.step(np.array(action, np.float32))
        np.testing.assert_allclose(after[:2] - before[:2], 0.01 * after[2:], atol=1e-6)
        gained = (after[2:] - speed_before) / 0.01
        # Gear 100 over the mass of a sphere of radius 0.1 and density 1000; damping 1.
        mass = 1000.0 * 4.0 / 3.0 * np.pi * 0.1**3
        np.testing.assert_allclose(
            gained, (100.0 * np.array(action) - after[2:]) / mass, rtol=1e-3, atol=1e-3
        )
        before = after


def test_walls_stop_the_point_where_d4rls_do():
    """They reach from -0.7 to 0.3 about a cell's numbers, and the point has a radius of 0.1."""
    env = make_env(ENV_IDS["umaze"])
    env.reset(seed=0)
    # To the last row, to its first column, to its last one, up to the first row, and to the goal's column.
    for action, axis, stop in (
        ([1.0, 0.0], 0, 3.2),
        ([0.0, -1.0], 1, 0.4),
        ([0.0, 1.0], 1, 3.2),
        ([-1.0, 0.0], 0, 0.4),
        ([0.0, -1.0], 1, 0.4),
    ):
        assert _push(env, action)[axis] == pytest.approx(stop, abs=0.01)


def test_the_reward_is_for_being_near_the_goal():
    """1 within 0.5 of it, and 0 elsewhere."""
    env = make_env(ENV_IDS["umaze"])
    seen = set()
    for seed in range(30):
        env.reset(seed=seed)
        observation, reward, *_ = env.step(np.zeros(2, np.float32))
        assert reward == float(np.linalg.norm(observation[:2] - [1.0, 1.0]) <= 0.5)
        seen.add(reward)
    assert seen == {0.0, 1.0}


def test_an_unknown_layout_is_told():
    """With those there are."""
    with pytest.raises(ValueError, match="`layout` must be one of umaze, medium, large, got 'huge'"):
        Maze2dEnv("huge")
